// Finds the complete records at the end of the local log and says whether every byte behind them is
// accounted for.
//
// Postgres writes whole pages, so behind the last complete record of the last written page there
// may be zeros, a record that runs off the page, or another backend's half-copied record (0.4 % of
// busy flushes). The scanner therefore has three answers, not two. SETTLED: from the last known
// boundary it came, record by record, each complete and checked, to a place where nothing more can
// be due: the end of what was written; a zero length on the last written page, with a header; a
// header that does not fit; a valid header of a record that ends beyond what was written.
// UNSETTLED: anything else, so it can't say; read again. POISON: a complete, checked record that
// ingest could not digest, which must never enter the log.
//
// A settled answer also needs proof that these are the bytes that were written: the last non-zero
// word of the last write, published by who wrote it, must be seen at its place. A hole or another
// file read as zeros is thus unsettled.
//
// A record that runs off is believed by its header, which no checksum covers yet; a damaged length
// would turn a complete record into one that nobody has to wait for. So it must not end beyond what
// Postgres has given out, and on the last page no length that differs in one byte may make a
// complete, checked record of it.
//
// Bytes up to the last complete record never change any more; bytes behind it do, so each scan
// starts at the boundary afresh. Pure; no I/O.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"
#include "compute/gate/tail.h"
#include "wal/decoder.h"

namespace varve::compute {

enum class Verdict : uint8_t { kSettled, kUnsettled, kPoison };

struct Scan {
  Verdict verdict = Verdict::kUnsettled;
  LsnRange found;  // complete, checked extents with the page headers in them; may be empty
  std::vector<Lsn> record_ends;  // ascending, in `found`, end form
  std::vector<Lsn> record_starts;
  Status reason;  // unless settled: what and where
};

// Success when ingest can digest the record; else why not.
using Digest = std::function<Status(const wal::Record&)>;

class Scanner {
 public:
  // `boundary`: end of the last record that is known, in end form (at first, of the forged
  // checkpoint); `previous`: that record's start.
  Scanner(const wal::LogIdentity& identity, Lsn boundary, Lsn previous, Digest digest);

  // What to read from the local segments for scanning up to `tail`: from the page of the boundary,
  // so that the page's header is seen. Empty when nothing lies behind the boundary.
  LsnRange wanted(const TailSnapshot& tail) const;

  // Scans `bytes`, which must be wanted(tail). Takes the complete records that it finds for known:
  // the next scan begins behind them, whatever the verdict.
  Scan scan(const TailSnapshot& tail, std::span<const uint8_t> bytes);

  Lsn boundary() const { return boundary_; }
  Lsn previous() const { return previous_; }

 private:
  Status check_end(const TailSnapshot& tail, std::span<const uint8_t> bytes) const;
  Status check_run_off(const TailSnapshot& tail, std::span<const uint8_t> bytes) const;
  Status check_padding(LsnRange range, std::span<const uint8_t> bytes) const;
  Status check_written(const TailSnapshot& tail, std::span<const uint8_t> bytes) const;

  wal::LogIdentity identity_;
  wal::Decoder decoder_;
  Lsn boundary_;
  Lsn previous_;
  Digest digest_;
};

}  // namespace varve::compute
