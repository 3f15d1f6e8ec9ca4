#include "wal/checkpoint_state.h"

#include <algorithm>

#include "base/codec.h"

namespace varve::wal {
namespace {

constexpr uint32_t low(uint64_t full_xid) {
  return static_cast<uint32_t>(full_xid);
}

}  // namespace

CheckpointState::CheckpointState(const Checkpoint& checkpoint, const ServerParameters& parameters)
    : counters_(checkpoint), parameters_(parameters) {
  counters_.redo = Lsn();
  counters_.time = 0;
  counters_.previous_timeline = 0;
  counters_.oldest_active_xid = 0;
  counters_.wal_level = 0;
}

// The next xid becomes the one after `xid` unless it is beyond it already. Xids wrap from 2^32 - 1
// to the first normal one, and then the epoch grows.
void CheckpointState::pass_xid(uint32_t xid) {
  const uint32_t next = low(counters_.next_xid);
  if (xid < kFirstNormalXid || xid_precedes(xid, next)) return;
  const uint32_t after = xid == UINT32_MAX ? kFirstNormalXid : xid + 1;
  uint64_t epoch = counters_.next_xid >> 32;
  if (after < next) ++epoch;
  counters_.next_xid = epoch << 32 | after;
}

uint64_t CheckpointState::widen(uint32_t xid) const {
  uint64_t epoch = counters_.next_xid >> 32;
  const uint32_t next = low(counters_.next_xid);
  if (xid >= kFirstNormalXid) {
    const bool precedes = xid_precedes(xid, next);
    if (xid > next && precedes && epoch > 0) --epoch;
    if (xid < next && !precedes) ++epoch;
  }
  return epoch << 32 | xid;
}

void CheckpointState::pass_multi(uint32_t next, uint32_t next_offset) {
  if (modular_precedes(counters_.next_multi, next)) counters_.next_multi = next;
  if (modular_precedes(counters_.next_multi_offset, next_offset))
    counters_.next_multi_offset = next_offset;
}

void CheckpointState::apply_transaction_end(const TransactionEnd& end) {
  pass_xid(end.xid);
  for (size_t i = 0; i < end.subtransactions.size(); ++i) pass_xid(end.subtransactions[i]);
  if (!end.committed || !parameters_.track_commit_timestamp) return;
  const uint32_t newest = end.subtransactions.empty()
                              ? end.xid
                              : uint32_t{end.subtransactions[end.subtransactions.size() - 1]};
  if (xid_precedes(counters_.newest_commit_timestamp_xid, newest))
    counters_.newest_commit_timestamp_xid = newest;
}

void CheckpointState::apply_multixact(const MultiXactCreate& create) {
  pass_multi(create.id + 1, create.offset + static_cast<uint32_t>(create.members.size()));
  for (size_t i = 0; i < create.members.size(); ++i) pass_xid(create.members[i].xid);
}

void CheckpointState::apply_checkpoint(const CheckpointTaken& taken) {
  const Checkpoint& seen = taken.checkpoint;
  if (taken.shutdown) {
    // Nothing runs, so its counters are the truth, lower ones too.
    counters_.next_xid = seen.next_xid;
    counters_.next_oid = seen.next_oid;
    counters_.next_multi = seen.next_multi;
    counters_.next_multi_offset = seen.next_multi_offset;
  } else {
    // Taken while others went on: minima. Oids are known from the records that reserve them.
    counters_.next_xid = std::max(counters_.next_xid, seen.next_xid);
    pass_multi(seen.next_multi, seen.next_multi_offset);
  }
  // Frozen by vacuum without a record when no file could be removed; a checkpoint is where it
  // shows.
  if (taken.shutdown || xid_precedes(counters_.oldest_xid, seen.oldest_xid)) {
    counters_.oldest_xid = seen.oldest_xid;
    counters_.oldest_xid_database = seen.oldest_xid_database;
  }
  if (modular_precedes(counters_.oldest_multi, seen.oldest_multi)) {
    counters_.oldest_multi = seen.oldest_multi;
    counters_.oldest_multi_database = seen.oldest_multi_database;
  }
  if (seen.oldest_commit_timestamp_xid != 0) {
    if (taken.shutdown || counters_.oldest_commit_timestamp_xid == 0 ||
        xid_precedes(counters_.oldest_commit_timestamp_xid, seen.oldest_commit_timestamp_xid))
      counters_.oldest_commit_timestamp_xid = seen.oldest_commit_timestamp_xid;
    if (xid_precedes(counters_.newest_commit_timestamp_xid, seen.newest_commit_timestamp_xid))
      counters_.newest_commit_timestamp_xid = seen.newest_commit_timestamp_xid;
  }
  counters_.timeline = seen.timeline;
  counters_.full_page_writes = seen.full_page_writes;
}

void CheckpointState::apply_parameters(const ServerParameters& parameters) {
  parameters_ = parameters;
  if (!parameters.track_commit_timestamp) {
    counters_.oldest_commit_timestamp_xid = counters_.newest_commit_timestamp_xid = 0;
  } else if (counters_.oldest_commit_timestamp_xid == 0) {
    // Tracking begins with the transactions that are still to come.
    counters_.oldest_commit_timestamp_xid = counters_.newest_commit_timestamp_xid =
        low(counters_.next_xid);
  }
}

void CheckpointState::apply(const Record& record, const Effect& effect) {
  pass_xid(record.xid);
  if (record.toplevel_xid.has_value()) pass_xid(*record.toplevel_xid);
  if (std::holds_alternative<NoEffect>(effect)) return;
  if (std::holds_alternative<VisibilityClear>(effect)) return;
  if (const auto* end = std::get_if<TransactionEnd>(&effect)) {
    apply_transaction_end(*end);
  } else if (const auto* prepare = std::get_if<TransactionPrepare>(&effect)) {
    pass_xid(prepare->xid);
    for (size_t i = 0; i < prepare->subtransactions.size(); ++i)
      pass_xid(prepare->subtransactions[i]);
  } else if (const auto* assignment = std::get_if<SubtransactionAssignment>(&effect)) {
    pass_xid(assignment->top);
    for (size_t i = 0; i < assignment->subtransactions.size(); ++i)
      pass_xid(assignment->subtransactions[i]);
  } else if (const auto* running = std::get_if<RunningTransactions>(&effect)) {
    // Its next xid is not used yet: the one before it is the last that may be.
    if (running->next_xid > kFirstNormalXid) pass_xid(running->next_xid - 1);
  } else if (const auto* create = std::get_if<MultiXactCreate>(&effect)) {
    apply_multixact(*create);
  } else if (const auto* truncate = std::get_if<MultiXactTruncate>(&effect)) {
    if (modular_precedes(counters_.oldest_multi, truncate->end_multi)) {
      counters_.oldest_multi = truncate->end_multi;
      counters_.oldest_multi_database = truncate->oldest_multi_database;
    }
  } else if (const auto* clog = std::get_if<ClogTruncate>(&effect)) {
    if (xid_precedes(counters_.oldest_xid, clog->oldest_xid)) {
      counters_.oldest_xid = clog->oldest_xid;
      counters_.oldest_xid_database = clog->oldest_xid_database;
    }
  } else if (const auto* timestamps = std::get_if<CommitTimestampTruncate>(&effect)) {
    if (counters_.oldest_commit_timestamp_xid != 0 &&
        xid_precedes(counters_.oldest_commit_timestamp_xid, timestamps->oldest_xid))
      counters_.oldest_commit_timestamp_xid = timestamps->oldest_xid;
  } else if (const auto* parameters = std::get_if<ServerParameters>(&effect)) {
    apply_parameters(*parameters);
  } else if (const auto* taken = std::get_if<CheckpointTaken>(&effect)) {
    apply_checkpoint(*taken);
  } else if (const auto* oid = std::get_if<NextOid>(&effect)) {
    counters_.next_oid = oid->next_oid;
  } else if (const auto* images = std::get_if<FullPageWritesChange>(&effect)) {
    counters_.full_page_writes = images->on;
  } else if (const auto* promoted = std::get_if<EndOfRecovery>(&effect)) {
    counters_.timeline = promoted->timeline;
  }
}

Checkpoint CheckpointState::checkpoint(const Version& version, Lsn redo, int64_t time) const {
  Checkpoint result = counters_;
  result.redo = redo;
  result.time = time;
  result.previous_timeline = result.timeline;
  result.wal_level = version.checkpoint_has_wal_level ? parameters_.wal_level : 0;
  return result;
}

std::array<uint8_t, CheckpointState::kEncodedSize> CheckpointState::encode(
    const Version& version) const {
  std::array<uint8_t, kEncodedSize> bytes{};
  const auto counters = counters_.encode(version);
  std::copy(counters.begin(), counters.end(), bytes.begin());
  uint8_t* p = bytes.data() + kCheckpointSize;
  store_le<int32_t>(p, parameters_.max_connections);
  store_le<int32_t>(p + 4, parameters_.max_worker_processes);
  store_le<int32_t>(p + 8, parameters_.max_wal_senders);
  store_le<int32_t>(p + 12, parameters_.max_prepared_transactions);
  store_le<int32_t>(p + 16, parameters_.max_locks_per_transaction);
  store_le<int32_t>(p + 20, parameters_.wal_level);
  p[24] = parameters_.wal_log_hints ? 1 : 0;
  p[25] = parameters_.track_commit_timestamp ? 1 : 0;
  return bytes;
}

Result<CheckpointState> CheckpointState::decode(const Version& version,
                                                std::span<const uint8_t> bytes) {
  if (bytes.size() != kEncodedSize)
    return Status(Code::kCorrupt, "counters of " + std::to_string(bytes.size()) + " bytes");
  VARVE_TRY_ASSIGN(const Checkpoint counters, Checkpoint::parse(version, bytes));
  ServerParameters parameters;
  Reader in(bytes.subspan(kCheckpointSize));
  parameters.max_connections = in.le<int32_t>();
  parameters.max_worker_processes = in.le<int32_t>();
  parameters.max_wal_senders = in.le<int32_t>();
  parameters.max_prepared_transactions = in.le<int32_t>();
  parameters.max_locks_per_transaction = in.le<int32_t>();
  parameters.wal_level = in.le<int32_t>();
  parameters.wal_log_hints = in.u8() != 0;
  parameters.track_commit_timestamp = in.u8() != 0;
  return CheckpointState(counters, parameters);
}

}  // namespace varve::wal
