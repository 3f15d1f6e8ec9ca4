// Writes records as Postgres does: builds one from its parts, and lays it into pages.
//
// Used by the simulator's model Postgres, by the forged checkpoint and by tests. What these produce
// goes through the same checks as real WAL. Caller errors here are broken invariants, not bad
// input.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/lsn.h"
#include "wal/page.h"
#include "wal/record.h"

namespace varve::wal {

// The parts of a record, put together by build_record(). Block references come from Record; their
// `data` and image spans are copied. has_data is derived from `data`.
struct RecordParts {
  uint32_t xid = 0;
  uint8_t info = 0;
  uint8_t rmid = 0;
  std::span<const BlockReference> blocks = {};  // ascending ids
  std::span<const uint8_t> main_data = {};
  std::optional<uint16_t> origin = std::nullopt;
  std::optional<uint32_t> toplevel_xid = std::nullopt;
};

// The record's bytes, with the link and the checksum still zero: they depend on its place. Equal
// relations of neighbouring blocks are written once, as Postgres does. Invariants: ids ascending
// and <= 32; images that BlockImage describes correctly; data <= 65535 bytes.
std::vector<uint8_t> build_record(const Version& version, const RecordParts& parts);

// Sets the link to the previous record and the checksum.
void seal_record(std::span<uint8_t> raw, Lsn previous);

// Lays records one after another behind a boundary of a log.
class LogWriter {
 public:
  // `boundary` in end form; `previous` is the start of the record that ends there.
  LogWriter(const LogIdentity& identity, Lsn boundary, Lsn previous);

  // Seals `raw` for its place and appends the bytes from boundary() to the record's end to `out`:
  // page headers, record, padding and, for a switch, the zeros to the end of the segment. Returns
  // its extent and moves the boundary there. The page behind a page edge gets its header with the
  // record that needs it.
  LsnRange append(std::span<uint8_t> raw, std::vector<uint8_t>& out);

  // A segment switch. At a segment's start Postgres writes none; neither may the caller
  // (invariant).
  LsnRange append_switch(std::vector<uint8_t>& out);

  Lsn boundary() const { return boundary_; }
  Lsn previous() const { return previous_; }

 private:
  void append_page_header(uint64_t continues, std::vector<uint8_t>& out);

  LogIdentity identity_;
  Lsn boundary_;
  Lsn previous_;
};

}  // namespace varve::wal
