// What is stored under a key at an LSN: one byte that says how to read it, then the payload.
//
// Values of one key form chains. A chain starts with a value that needs nothing older
// (starts_chain) and goes on with deltas. Ingest sees to it that a page that enters its relation
// begins a new chain, so that nothing of an earlier life of the same file number, or from before a
// truncation, ever shines through: a reader walks back to the newest start and needs no other rule.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"

namespace varve::storage {

enum class ValueKind : uint8_t {
  kImage = 0,             // the whole page, or the whole piece of metadata
  kDelta = 1,             // a page delta (docs/formats/page-delta.md)
  kDeltaOnZeros = 2,      // a page delta whose page did not exist before: its base is zeros
  kZeroPage = 3,          // a page of zeros; no payload
  kTombstone = 4,         // does not exist from here on; no payload
  kSlruDelta = 5,         // a status page's delta (docs/formats/slru-delta.md)
  kSlruDeltaOnZeros = 6,  // the same on a page that did not exist
  kPoison = 7,            // can't be known from here on; the payload is the reason as text
  kBelow = 8,             // in image layers: could not be rebuilt, see below the image
};

struct ValueView {
  ValueKind kind = ValueKind::kTombstone;
  std::span<const uint8_t> payload;
};

// kCorrupt for an empty value, an unknown kind, or a payload that the kind can't have.
Result<ValueView> parse_value(std::span<const uint8_t> bytes);
// Nothing older is needed. Reads a few bytes; invariant: parse_value() accepted them.
bool starts_chain(const ValueView& value);

std::vector<uint8_t> make_value(ValueKind kind, std::span<const uint8_t> payload = {});

// --- payloads of metadata, all images -----------------------------------------------------------

// How long a fork is, from this LSN on.
struct RelationSize {
  // The fork came into being here; older versions under its block keys belong to another relation.
  Lsn created;
  uint32_t blocks = 0;
  // The fork was made by copying files without a record for each block: blocks below
  // `copied_blocks` that have no version of their own since `created` are those of the same
  // relation number in this database, as of `created`'s record start.
  struct Source {
    uint32_t tablespace = 0;
    uint32_t database = 0;
    Lsn lsn;
    uint32_t copied_blocks = 0;
    bool operator==(const Source&) const = default;
  };
  std::optional<Source> source = std::nullopt;
  // Why the whole fork can't be read; empty normally.
  std::string quarantine = {};
  bool operator==(const RelationSize&) const = default;

  std::vector<uint8_t> encode() const;
  static Result<RelationSize> decode(std::span<const uint8_t> bytes);
};

// Little-endian u32: pages of a segment of a status file.
std::vector<uint8_t> encode_u32(uint32_t value);
Result<uint32_t> decode_u32(std::span<const uint8_t> bytes);
std::vector<uint8_t> encode_u64(uint64_t value);
Result<uint64_t> decode_u64(std::span<const uint8_t> bytes);

}  // namespace varve::storage
