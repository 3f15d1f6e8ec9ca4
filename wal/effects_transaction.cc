#include "wal/effects_transaction.h"

namespace varve::wal {
namespace {

constexpr uint8_t kOperationMask = 0x70;
constexpr uint8_t kHasInfo = 0x80;

// Which parts follow the time in a commit or abort, in the order in which they follow.
constexpr uint32_t kHasDatabase = 1u << 0;
constexpr uint32_t kHasSubtransactions = 1u << 1;
constexpr uint32_t kHasRelations = 1u << 2;
constexpr uint32_t kHasStatistics = 1u << 8;
constexpr uint32_t kHasInvalidations = 1u << 3;
constexpr uint32_t kHasTwoPhase = 1u << 4;
constexpr uint32_t kHasName = 1u << 7;
constexpr uint32_t kHasOrigin = 1u << 5;
// Exclusive locks were held; and hints for waiters and caches in the three highest bits. No bytes
// follow.
constexpr uint32_t kWithoutBytes = 1u << 6 | 7u << 29;

constexpr size_t kInvalidationSize = 16;

std::span<const uint8_t> read_items(Reader& in, size_t size) {
  const uint32_t count = in.le<uint32_t>();
  if (count > in.remaining() / size) return in.fail(), std::span<const uint8_t>{};
  return in.bytes(count * size);
}

ReplicationProgress read_progress(Reader& in) {
  ReplicationProgress progress;
  progress.remote_lsn = Lsn(in.le<uint64_t>());
  progress.time = in.le<int64_t>();
  return progress;
}

void parse_end(const Version& version, const Record& record, Reader& in, bool committed,
               bool prepared, Effect& effect) {
  TransactionEnd& end = effect.emplace<TransactionEnd>();
  end.committed = committed;
  end.prepared = prepared;
  end.xid = record.xid;
  end.origin = record.origin.value_or(0);
  end.time = in.le<int64_t>();
  const uint32_t parts = (record.info & kHasInfo) != 0 ? in.le<uint32_t>() : 0;
  uint32_t known = kHasDatabase | kHasSubtransactions | kHasRelations | kHasTwoPhase | kHasName |
                   kHasOrigin | kWithoutBytes;
  if (version.dropped_statistics_size != 0) known |= kHasStatistics;
  if (committed) known |= kHasInvalidations;
  if ((parts & ~known) != 0) return in.fail();
  if ((parts & kHasDatabase) != 0) {
    end.database = in.le<uint32_t>();
    end.tablespace = in.le<uint32_t>();
  }
  if ((parts & kHasSubtransactions) != 0) end.subtransactions = XidArray(read_items(in, 4));
  if ((parts & kHasRelations) != 0) end.dropped = RelationArray(read_items(in, 12));
  if ((parts & kHasStatistics) != 0) (void)read_items(in, version.dropped_statistics_size);
  if ((parts & kHasInvalidations) != 0) (void)read_items(in, kInvalidationSize);
  if ((parts & kHasTwoPhase) != 0) end.xid = in.le<uint32_t>();
  if ((parts & kHasName) != 0) end.prepared_name = in.cstring();
  if ((parts & kHasOrigin) != 0) end.progress = read_progress(in);
  if (prepared != ((parts & kHasTwoPhase) != 0)) in.fail();
}

// An array of the prepare record: its length stands in the header, and it is padded to 8 bytes.
std::span<const uint8_t> read_padded(Reader& in, uint64_t count, size_t size) {
  if (count > in.remaining() / size) return in.fail(), std::span<const uint8_t>{};
  const std::span<const uint8_t> items = in.bytes(count * size);
  in.skip(-(count * size) & 7);
  return items;
}

void parse_prepare(const Version& version, const Record& record, Reader& in, Effect& effect) {
  TransactionPrepare& prepare = effect.emplace<TransactionPrepare>();
  prepare.state = record.main_data;
  in.skip(8);  // a magic number, and the length of the state file
  prepare.xid = in.le<uint32_t>();
  prepare.database = in.le<uint32_t>();
  prepare.time = in.le<int64_t>();
  in.skip(4);  // owner
  const uint32_t subtransactions = in.le<uint32_t>();
  const uint32_t commit_relations = in.le<uint32_t>();
  const uint32_t abort_relations = in.le<uint32_t>();
  if (version.dropped_statistics_size != 0) in.skip(8);
  in.skip(4 + 2);  // invalidations; whether relation caches are to be rebuilt, and padding
  const uint16_t name_length = in.le<uint16_t>();
  prepare.progress = read_progress(in);
  if (!prepare.progress->remote_lsn.valid()) prepare.progress.reset();
  const std::span<const uint8_t> name = read_padded(in, name_length, 1);
  // The length counts the terminating zero.
  if (name.empty() || name.back() != 0) return in.fail();
  prepare.name = {reinterpret_cast<const char*>(name.data()), name.size() - 1};
  prepare.subtransactions = XidArray(read_padded(in, subtransactions, 4));
  prepare.dropped_on_commit = RelationArray(read_padded(in, commit_relations, 12));
  prepare.dropped_on_abort = RelationArray(read_padded(in, abort_relations, 12));
}

}  // namespace

bool parse_transaction(const Version& version, const Record& record, Reader& in, Effect& effect) {
  switch (record.operation() & kOperationMask) {
    case 0x00:
      parse_end(version, record, in, true, false, effect);
      return true;
    case 0x10:
      parse_prepare(version, record, in, effect);
      return true;
    case 0x20:
      parse_end(version, record, in, false, false, effect);
      return true;
    case 0x30:
      parse_end(version, record, in, true, true, effect);
      return true;
    case 0x40:
      parse_end(version, record, in, false, true, effect);
      return true;
    case 0x50: {
      SubtransactionAssignment& assignment = effect.emplace<SubtransactionAssignment>();
      assignment.top = in.le<uint32_t>();
      assignment.subtransactions = XidArray(read_items(in, 4));
      return true;
    }
    case 0x60:
      return true;  // cache invalidations, for logical decoding
    default:
      return false;
  }
}

}  // namespace varve::wal
