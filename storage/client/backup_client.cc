#include "storage/client/backup_client.h"

#include "proto/pageserver.pb.h"
#include "storage/client/message.h"
#include "storage/client/methods.h"
#include "wal/version.h"
#include "wire/rpc_proto.h"

namespace varve::storage {
namespace {

class Collector {
 public:
  explicit Collector(RpcClient& client) : client_(client) {}

  Status add(const RpcPayload& payload) {
    proto::BaseBackupItem item;
    VARVE_TRY(parse_proto(payload.head, kBaseBackup.name, item));
    if (item.has_start()) VARVE_TRY(add_start(item.start()));
    VARVE_TRY(add_lists(item));
    return add_files(item, payload.attachments);
  }

  Result<FetchedBackup> finish() {
    if (!started_) return wrong("has no beginning");
    return std::move(backup_);
  }

 private:
  Status wrong(const std::string& what) { return wrong_answer(client_, what); }

  Status add_start(const proto::BaseBackupStart& start) {
    started_ = true;
    backup_.postgres_major = static_cast<uint16_t>(start.postgres_major());
    backup_.system_id = start.system_id();
    backup_.segment_size = start.segment_size();
    backup_.lsn = Lsn(start.lsn());
    backup_.last_record_start = Lsn(start.last_record_start());
    backup_.control_file = Bytes::copy(start.control_file());
    const wal::Version* version = wal::version_of_major(backup_.postgres_major);
    if (version == nullptr) {
      return Status(Code::kUnsupported, "the timeline is of Postgres " +
                                            std::to_string(backup_.postgres_major) +
                                            ", which this program does not know");
    }
    VARVE_TRY_ASSIGN(backup_.counters,
                     wal::CheckpointState::decode(*version, as_bytes(start.checkpoint_state())));
    return Status();
  }

  Status add_lists(const proto::BaseBackupItem& item) {
    for (const proto::SparseFile& file : item.relations()) {
      if (file.fork() > static_cast<uint32_t>(wal::Fork::kInit)) return wrong("names no fork");
      backup_.forks.push_back({{file.tablespace(), file.database(), file.relation()},
                               static_cast<wal::Fork>(file.fork()),
                               file.blocks()});
    }
    for (const proto::SparseStatusFile& file : item.status_files()) {
      if (file.slru() > static_cast<uint32_t>(wal::Slru::kMultiXactMember)) {
        return wrong("names no status file");
      }
      backup_.status_files.push_back(
          {static_cast<wal::Slru>(file.slru()), file.segment(), file.blocks()});
    }
    for (const proto::BackupDatabase& database : item.databases()) {
      backup_.databases.push_back({database.tablespace(), database.database()});
    }
    for (const proto::BackupReplicationOrigin& origin : item.replication_origins()) {
      backup_.replication_origins.push_back(
          {static_cast<uint16_t>(origin.origin()), Lsn(origin.remote_lsn())});
    }
    return Status();
  }

  Status add_files(const proto::BaseBackupItem& item, const std::vector<Bytes>& attachments) {
    for (const proto::RelationMapFile& file : item.relation_maps()) {
      if (file.attachment() >= attachments.size()) return wrong("lacks a relation map");
      backup_.relation_maps.push_back(
          {file.tablespace(), file.database(), attachments[file.attachment()]});
    }
    for (const proto::TwoPhaseFile& file : item.two_phase()) {
      if (file.attachment() >= attachments.size()) return wrong("lacks a prepared transaction");
      backup_.two_phase.push_back({file.full_xid(), attachments[file.attachment()]});
    }
    return Status();
  }

  RpcClient& client_;
  FetchedBackup backup_;
  bool started_ = false;
};

}  // namespace

Result<FetchedBackup> base_backup(RpcClient& client, const TenantShardId& shard,
                                  const TimelineId& timeline, Lsn lsn, BackupAt at) {
  proto::BaseBackupRequest request;
  name_timeline(request, shard, timeline);
  request.set_lsn(lsn.value);
  request.set_past(at == BackupAt::kPast);
  VARVE_TRY_ASSIGN(const std::unique_ptr<RpcClientStream> stream,
                   client.open_stream(kBaseBackup, RpcPayload(serialize_proto(request))));
  Collector collector(client);
  for (;;) {
    VARVE_TRY_ASSIGN(const std::optional<RpcPayload> item, stream->receive());
    if (!item) return collector.finish();
    VARVE_TRY(collector.add(*item));
  }
}

}  // namespace varve::storage
