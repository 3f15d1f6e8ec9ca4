// The counters that a shutdown checkpoint would carry if the server stopped at the end of any
// record.
//
// Fed every record of a log in order, from the state of one checkpoint on. A forged checkpoint at
// that place then makes a stock server go on as if it had replayed the log: no xid, Oid or
// multixact is given out twice. Too low a next xid would hide committed rows; so each xid that a
// record mentions counts, also those in lists. A plain value: copy it to keep the state of a place,
// compare it, encode it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "wal/checkpoint.h"
#include "wal/effects.h"
#include "wal/record.h"

namespace varve::wal {

class CheckpointState {
 public:
  CheckpointState() = default;
  // The state that a checkpoint and the settings in pg_control describe.
  CheckpointState(const Checkpoint& checkpoint, const ServerParameters& parameters);

  // One record; `effect` is what parse_effect() made of it.
  void apply(const Record& record, const Effect& effect);

  // What a stock shutdown checkpoint here would carry. `redo` and `time` (seconds since 1970) are
  // the caller's. next_oid is an upper bound, as it is for stock recovery: Oids are reserved in
  // blocks of 8192.
  Checkpoint checkpoint(const Version& version, Lsn redo, int64_t time) const;

  // What pg_control must say for the log to be valid here.
  const ServerParameters& parameters() const { return parameters_; }

  // The full id (epoch in the high half) of an xid near the newest one.
  uint64_t widen(uint32_t xid) const;

  bool operator==(const CheckpointState&) const = default;

  // A fixed form for storage: the checkpoint's 88 bytes, then the settings.
  static constexpr size_t kEncodedSize = kCheckpointSize + 28;
  std::array<uint8_t, kEncodedSize> encode(const Version& version) const;
  static Result<CheckpointState> decode(const Version& version, std::span<const uint8_t> bytes);

 private:
  void pass_xid(uint32_t xid);
  void pass_multi(uint32_t next, uint32_t next_offset);
  void apply_transaction_end(const TransactionEnd& end);
  void apply_multixact(const MultiXactCreate& create);
  void apply_checkpoint(const CheckpointTaken& taken);
  void apply_parameters(const ServerParameters& parameters);

  Checkpoint
      counters_;  // the fields that depend on the moment (redo, time, wal_level, …) are unused: 0
  ServerParameters parameters_;
};

}  // namespace varve::wal
