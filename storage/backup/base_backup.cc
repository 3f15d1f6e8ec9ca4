#include "storage/backup/base_backup.h"

#include "storage/value.h"
#include "wal/two_phase.h"

namespace varve::storage {
namespace {

Status add_item(const wal::Version& version, const MetadataSource::Item& item, BaseBackup& backup) {
  const Key& key = item.key;
  const std::span<const uint8_t> payload = item.payload;
  switch (key.kind()) {
    case KeyKind::kRelationSize: {
      VARVE_TRY_ASSIGN(const RelationSize size, RelationSize::decode(payload));
      backup.forks.push_back(
          {{key.a(), key.b(), key.c()}, static_cast<wal::Fork>(key.d()), size.blocks});
      return Status();
    }
    case KeyKind::kDatabase:
      backup.databases.push_back({key.a(), key.b()});
      return Status();
    case KeyKind::kRelationMap:
      backup.relation_maps.push_back({key.a(), key.b(), item.payload});
      return Status();
    case KeyKind::kSlruSegment: {
      VARVE_TRY_ASSIGN(const uint32_t pages, decode_u32(payload));
      backup.status_files.push_back({static_cast<wal::Slru>(key.a()), key.b(), pages});
      return Status();
    }
    case KeyKind::kTwoPhase: {
      wal::TransactionPrepare prepare;
      prepare.state = payload;
      backup.two_phase.push_back({key.wide_number(), Bytes::copy(wal::two_phase_file(prepare))});
      return Status();
    }
    case KeyKind::kReplicationOrigin: {
      VARVE_TRY_ASSIGN(const uint64_t remote, decode_u64(payload));
      backup.replication_origins.emplace_back(static_cast<uint16_t>(key.a()), Lsn(remote));
      return Status();
    }
    case KeyKind::kCheckpointState: {
      VARVE_TRY_ASSIGN(backup.counters, wal::CheckpointState::decode(version, payload));
      return Status();
    }
    case KeyKind::kControlFile:
      backup.control_file = item.payload;
      return Status();
    case KeyKind::kBlock:
    case KeyKind::kSlruBlock:
    case KeyKind::kTablespace:
    case KeyKind::kLogChunk:
    case KeyKind::kQuarantine:
      return Status();
  }
  return Status();
}

}  // namespace

Result<BaseBackup> make_base_backup(Timeline& timeline, Lsn lsn) {
  BaseBackup backup;
  backup.cluster = timeline.cluster();
  VARVE_TRY_ASSIGN(backup.position, timeline.position_at(lsn));
  if (backup.position.boundary != lsn) {
    return Status(Code::kInvalid, "no record ends there; the one before ends at " +
                                      backup.position.boundary.to_string())
        .with_lsn(lsn);
  }
  // The log's index lies between and is large.
  const KeyRange before{Key::make(kFirstSparseKind), Key::make(KeyKind::kLogChunk)};
  const KeyRange after{Key::make(KeyKind::kCheckpointState), Key::make(KeyKind::kQuarantine)};
  for (const KeyRange& range : {before, after}) {
    VARVE_TRY_ASSIGN(const std::vector<MetadataSource::Item> items,
                     timeline.metadata_range(range, lsn));
    for (const MetadataSource::Item& item : items) {
      VARVE_TRY(add_item(timeline.version(), item, backup));
    }
  }
  if (backup.control_file.empty()) {
    return Status(Code::kCorrupt, "the timeline has no control file")
        .with_object("timeline " + timeline.id().to_string());
  }
  return backup;
}

}  // namespace varve::storage
