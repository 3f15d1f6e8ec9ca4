#include "wal/effects.h"

#include <algorithm>
#include <string>

#include "wal/effects_heap.h"
#include "wal/effects_transaction.h"
#include "wal/record_names.h"

namespace varve::wal {
namespace {

Status unknown(const Version& version, const Record& record) {
  return Status(Code::kUnsupported,
                "WAL record " + record_name(version, record.rmid, record.info) + " is not known")
      .with_lsn(record.start);
}

Status malformed(const Version& version, const Record& record) {
  return Status(Code::kCorrupt, "WAL record " + record_name(version, record.rmid, record.info) +
                                    " has " + std::to_string(record.main_data.size()) +
                                    " bytes of main data, which is not its form")
      .with_lsn(record.start);
}

// A page number of a status file; from 17 on it is stored in 64 bits, of which no file needs more
// than 32.
uint32_t read_page_number(const Version& version, Reader& reader) {
  if (version.slru_page_number_size == 4) return reader.le<uint32_t>();
  const uint64_t page = reader.le<uint64_t>();
  if (page > UINT32_MAX) reader.fail();
  return static_cast<uint32_t>(page);
}

// A count that is followed by so many items of `size` bytes; an impossible one fails the reader.
std::span<const uint8_t> read_items(Reader& reader, size_t size) {
  const uint32_t count = reader.le<uint32_t>();
  if (count > reader.remaining() / size) {
    reader.fail();
    return {};
  }
  return reader.bytes(count * size);
}

RelationId read_relation(Reader& reader) {
  RelationId relation;
  relation.tablespace = reader.le<uint32_t>();
  relation.database = reader.le<uint32_t>();
  relation.relation = reader.le<uint32_t>();
  return relation;
}

// What the parsers of one resource manager answer.
enum class Parsed : uint8_t { kYes, kUnknownOperation };

Parsed parse_parameters(Reader& in, Effect& effect) {
  ServerParameters& parameters = effect.emplace<ServerParameters>();
  parameters.max_connections = in.le<int32_t>();
  parameters.max_worker_processes = in.le<int32_t>();
  parameters.max_wal_senders = in.le<int32_t>();
  parameters.max_prepared_transactions = in.le<int32_t>();
  parameters.max_locks_per_transaction = in.le<int32_t>();
  parameters.wal_level = in.le<int32_t>();
  parameters.wal_log_hints = in.u8() != 0;
  parameters.track_commit_timestamp = in.u8() != 0;
  return Parsed::kYes;
}

Parsed parse_restore_point(Reader& in, Effect& effect) {
  RestorePoint& point = effect.emplace<RestorePoint>();
  point.time = in.le<int64_t>();
  const std::span<const uint8_t> name = in.bytes(64);
  const auto end = std::find(name.begin(), name.end(), 0);
  point.name = {reinterpret_cast<const char*>(name.data()),
                static_cast<size_t>(end - name.begin())};
  return Parsed::kYes;
}

Parsed parse_xlog(const Version& version, const Record& record, Reader& in, Effect& effect) {
  switch (record.operation()) {
    case 0x00:
    case 0x10: {
      const Result<Checkpoint> checkpoint = Checkpoint::parse(version, in.bytes(kCheckpointSize));
      if (!checkpoint.ok()) return in.fail(), Parsed::kYes;
      effect = CheckpointTaken{record.operation() == 0x00, *checkpoint};
      return Parsed::kYes;
    }
    case 0x30:
      effect = NextOid{in.le<uint32_t>()};
      return Parsed::kYes;
    case 0x60:
      return parse_parameters(in, effect);
    case 0x70:
      return parse_restore_point(in, effect);
    case 0x80:
      effect = FullPageWritesChange{in.u8() != 0};
      return Parsed::kYes;
    case 0x90: {
      EndOfRecovery& end = effect.emplace<EndOfRecovery>();
      end.time = in.le<int64_t>();
      end.timeline = in.le<uint32_t>();
      end.previous_timeline = in.le<uint32_t>();
      return Parsed::kYes;
    }
    case 0x20:  // nothing, a segment switch, a backup's end, page images, an overwritten record
    case 0x40:
    case 0x50:
    case 0xA0:
    case 0xB0:
    case 0xD0:
      return Parsed::kYes;
    case 0xE0:
      return version.major >= 17 ? Parsed::kYes : Parsed::kUnknownOperation;
    default:
      return Parsed::kUnknownOperation;
  }
}

Parsed parse_storage(const Record& record, Reader& in, Effect& effect) {
  switch (record.operation()) {
    case 0x10: {
      RelationCreate& create = effect.emplace<RelationCreate>();
      create.relation = read_relation(in);
      const uint32_t fork = in.le<uint32_t>();
      if (fork > static_cast<uint32_t>(Fork::kInit)) in.fail();
      create.fork = static_cast<Fork>(fork);
      return Parsed::kYes;
    }
    case 0x20: {
      RelationTruncate& truncate = effect.emplace<RelationTruncate>();
      truncate.blocks = in.le<uint32_t>();
      truncate.relation = read_relation(in);
      const uint32_t flags = in.le<uint32_t>();
      if ((flags & ~7u) != 0) in.fail();
      truncate.main = (flags & 1) != 0;
      truncate.visibility = (flags & 2) != 0;
      truncate.free_space = (flags & 4) != 0;
      return Parsed::kYes;
    }
    default:
      return Parsed::kUnknownOperation;
  }
}

Parsed parse_database(const Version& version, const Record& record, Reader& in, Effect& effect) {
  uint8_t operation = record.operation();
  if (!version.database_create_by_log && operation == 0x10) {
    operation = 0x20;  // before 15 there was one way to create, and a drop came second
  } else if (!version.database_create_by_log && operation != 0x00) {
    return Parsed::kUnknownOperation;
  }
  switch (operation) {
    case 0x00: {
      DatabaseCopy& copy = effect.emplace<DatabaseCopy>();
      copy.database = in.le<uint32_t>();
      copy.tablespace = in.le<uint32_t>();
      copy.source_database = in.le<uint32_t>();
      copy.source_tablespace = in.le<uint32_t>();
      return Parsed::kYes;
    }
    case 0x10: {
      DatabaseCreate& create = effect.emplace<DatabaseCreate>();
      create.database = in.le<uint32_t>();
      create.tablespace = in.le<uint32_t>();
      return Parsed::kYes;
    }
    case 0x20: {
      DatabaseDrop& drop = effect.emplace<DatabaseDrop>();
      drop.database = in.le<uint32_t>();
      drop.tablespaces = XidArray(read_items(in, 4));
      return Parsed::kYes;
    }
    default:
      return Parsed::kUnknownOperation;
  }
}

Parsed parse_tablespace(const Record& record, Reader& in, Effect& effect) {
  switch (record.operation()) {
    case 0x00: {
      TablespaceCreate& create = effect.emplace<TablespaceCreate>();
      create.tablespace = in.le<uint32_t>();
      create.path = in.cstring();
      return Parsed::kYes;
    }
    case 0x10:
      effect = TablespaceDrop{in.le<uint32_t>()};
      return Parsed::kYes;
    default:
      return Parsed::kUnknownOperation;
  }
}

Parsed parse_clog(const Version& version, const Record& record, Reader& in, Effect& effect) {
  switch (record.operation()) {
    case 0x00:
      effect = SlruZeroPage{Slru::kClog, read_page_number(version, in)};
      break;
    case 0x10: {
      ClogTruncate& truncate = effect.emplace<ClogTruncate>();
      truncate.page = read_page_number(version, in);
      truncate.oldest_xid = in.le<uint32_t>();
      truncate.oldest_xid_database = in.le<uint32_t>();
      break;
    }
    default:
      return Parsed::kUnknownOperation;
  }
  return Parsed::kYes;
}

Parsed parse_commit_timestamp(const Version& version, const Record& record, Reader& in,
                              Effect& effect) {
  switch (record.operation()) {
    case 0x00:
      effect = SlruZeroPage{Slru::kCommitTimestamp, read_page_number(version, in)};
      break;
    case 0x10: {
      CommitTimestampTruncate& truncate = effect.emplace<CommitTimestampTruncate>();
      truncate.page = read_page_number(version, in);
      truncate.oldest_xid = in.le<uint32_t>();
      break;
    }
    default:
      return Parsed::kUnknownOperation;
  }
  return Parsed::kYes;
}

Parsed parse_multixact(const Version& version, const Record& record, Reader& in, Effect& effect) {
  switch (record.operation()) {
    case 0x00:
      effect = SlruZeroPage{Slru::kMultiXactOffset, read_page_number(version, in)};
      break;
    case 0x10:
      effect = SlruZeroPage{Slru::kMultiXactMember, read_page_number(version, in)};
      break;
    case 0x20: {
      MultiXactCreate& create = effect.emplace<MultiXactCreate>();
      create.id = in.le<uint32_t>();
      create.offset = in.le<uint32_t>();
      create.members = MultiXactMemberArray(read_items(in, MultiXactMemberArray::kSize));
      break;
    }
    case 0x30: {
      MultiXactTruncate& truncate = effect.emplace<MultiXactTruncate>();
      truncate.oldest_multi_database = in.le<uint32_t>();
      truncate.first_multi = in.le<uint32_t>();
      truncate.end_multi = in.le<uint32_t>();
      truncate.first_offset = in.le<uint32_t>();
      truncate.end_offset = in.le<uint32_t>();
      break;
    }
    default:
      return Parsed::kUnknownOperation;
  }
  return Parsed::kYes;
}

Parsed parse_relation_map(const Version& version, const Record& record, Reader& in,
                          Effect& effect) {
  if (record.operation() != 0x00) return Parsed::kUnknownOperation;
  RelationMapUpdate& update = effect.emplace<RelationMapUpdate>();
  update.database = in.le<uint32_t>();
  update.tablespace = in.le<uint32_t>();
  if (in.le<uint32_t>() != version.relation_map_bytes) in.fail();
  update.map = in.bytes(version.relation_map_bytes);
  return Parsed::kYes;
}

Parsed parse_standby(const Record& record, Reader& in, Effect& effect) {
  switch (record.operation()) {
    case 0x00:  // locks and cache invalidations are for hot standbys, which read the log themselves
    case 0x20:
      return Parsed::kYes;
    case 0x10: {
      RunningTransactions& running = effect.emplace<RunningTransactions>();
      const uint64_t transactions = in.le<uint32_t>();
      const uint64_t subtransactions = in.le<uint32_t>();
      in.skip(4);  // whether the list of subtransactions is incomplete
      running.next_xid = in.le<uint32_t>();
      running.oldest_running = in.le<uint32_t>();
      running.latest_completed = in.le<uint32_t>();
      // Where that list is incomplete its length is that of the list that is there: zero.
      const uint64_t count = transactions + subtransactions;
      if (count > in.remaining() / 4) return in.fail(), Parsed::kYes;
      running.xids = XidArray(in.bytes(count * 4));
      return Parsed::kYes;
    }
    default:
      return Parsed::kUnknownOperation;
  }
}

Parsed parse_replication_origin(const Record& record, Reader& in, Effect& effect) {
  switch (record.operation()) {
    case 0x00: {
      ReplicationOriginSet& set = effect.emplace<ReplicationOriginSet>();
      set.remote_lsn = Lsn(in.le<uint64_t>());
      set.origin = in.le<uint16_t>();
      set.force = in.u8() != 0;
      return Parsed::kYes;
    }
    case 0x10:
      effect = ReplicationOriginDrop{in.le<uint16_t>()};
      return Parsed::kYes;
    default:
      return Parsed::kUnknownOperation;
  }
}

Parsed parse(const Version& version, const Record& record, Reader& in, Effect& effect) {
  if (record.rmid > static_cast<uint8_t>(Rmgr::kLogicalMessage)) return Parsed::kUnknownOperation;
  const auto yes = [](bool known) { return known ? Parsed::kYes : Parsed::kUnknownOperation; };
  switch (static_cast<Rmgr>(record.rmid)) {
    case Rmgr::kHeap:
      return yes(parse_heap_effect(record, in, effect));
    case Rmgr::kHeap2:
      return yes(parse_heap2_effect(record, in, effect));
    case Rmgr::kTransaction:
      return yes(parse_transaction(version, record, in, effect));
    case Rmgr::kXlog:
      return parse_xlog(version, record, in, effect);
    case Rmgr::kStorage:
      return parse_storage(record, in, effect);
    case Rmgr::kClog:
      return parse_clog(version, record, in, effect);
    case Rmgr::kDatabase:
      return parse_database(version, record, in, effect);
    case Rmgr::kTablespace:
      return parse_tablespace(record, in, effect);
    case Rmgr::kMultiXact:
      return parse_multixact(version, record, in, effect);
    case Rmgr::kRelationMap:
      return parse_relation_map(version, record, in, effect);
    case Rmgr::kStandby:
      return parse_standby(record, in, effect);
    case Rmgr::kCommitTimestamp:
      return parse_commit_timestamp(version, record, in, effect);
    case Rmgr::kReplicationOrigin:
      return parse_replication_origin(record, in, effect);
    // These do nothing but to their blocks; whether their operation is known is redo's question.
    case Rmgr::kBtree:
    case Rmgr::kHash:
    case Rmgr::kGin:
    case Rmgr::kGist:
    case Rmgr::kSequence:
    case Rmgr::kSpgist:
    case Rmgr::kBrin:
    case Rmgr::kGeneric:
    case Rmgr::kLogicalMessage:
      return Parsed::kYes;
  }
  return Parsed::kUnknownOperation;
}

// The effects that may change relation files: for these the server sets the bit.
bool changes_relation_files(const Effect& effect) {
  if (const auto* end = std::get_if<TransactionEnd>(&effect)) return !end->dropped.empty();
  return std::holds_alternative<RelationCreate>(effect) ||
         std::holds_alternative<RelationTruncate>(effect) ||
         std::holds_alternative<DatabaseCopy>(effect) ||
         std::holds_alternative<DatabaseCreate>(effect) ||
         std::holds_alternative<DatabaseDrop>(effect);
}

}  // namespace

Status parse_effect(const Version& version, const Record& record, Effect& effect) {
  effect.emplace<NoEffect>();
  Reader in(record.main_data);
  if (parse(version, record, in, effect) == Parsed::kUnknownOperation) [[unlikely]]
    return unknown(version, record);
  if (!in.ok()) [[unlikely]]
    return malformed(version, record);
  if ((record.info & kInfoSpecialRelation) != 0 && !changes_relation_files(effect)) [[unlikely]] {
    return Status(Code::kUnsupported, "WAL record " +
                                          record_name(version, record.rmid, record.info) +
                                          " changes relation files in a way that is not known")
        .with_lsn(record.start);
  }
  return Status();
}

}  // namespace varve::wal
