#include "tests/compute/model_pageserver.h"

#include <cstring>

#include "proto/pageserver.pb.h"
#include "storage/client/methods.h"
#include "storage/key.h"
#include "wire/rpc_proto.h"

namespace varve::test {
namespace {

using Pages = WithAttachments<proto::GetPagesResponse>;

Status authorize(CallContext& context, const std::string& tenant, const std::string& timeline) {
  TenantTimelineId id;
  if (tenant.size() != id.tenant.bytes.size() || timeline.size() != id.timeline.bytes.size())
    return Status(Code::kInvalid, "an id is not 16 bytes");
  std::memcpy(id.tenant.bytes.data(), tenant.data(), tenant.size());
  std::memcpy(id.timeline.bytes.data(), timeline.data(), timeline.size());
  return context.authorize(id.tenant, id.timeline);
}

Status wait_for(const StorageModel& storage, Lsn lsn) {
  while (storage.ingested() < lsn) VARVE_TRY(sleep_for(Duration::millis(3)));
  return Status();
}

Result<Pages> get_pages(World& world, StorageModel& storage,
                        const proto::GetPagesRequest& request) {
  VARVE_TRY(sleep_for(
      Duration::micros(static_cast<int64_t>(100 + world.random.below(3000, "time of a page")))));
  if (world.random.below(10, "storage is away") == 0)
    return Status(Code::kUnavailable, "storage is away");
  if (!storage.admits(request.term())) return Status(Code::kStale, "a newer term asked");
  Pages response;
  for (const proto::PageRun& run : request.runs()) {
    VARVE_TRY(wait_for(storage, Lsn(run.not_modified_since())));
    storage::Key key;
    std::memcpy(key.bytes.data(), run.key().data(), storage::kKeySize);
    for (uint32_t i = 0; i < std::max(run.count(), 1u); ++i) {
      PageKey page = wal::SlruPage{};
      if (key.kind() == storage::KeyKind::kBlock) {
        page = key.to_block();
        std::get<wal::BlockId>(page).block += i;
      } else {
        page = key.to_slru_page();
        std::get<wal::SlruPage>(page).page += i;
      }
      ServedPage served = storage.page(page, Lsn(run.request_lsn()));
      if (world.random.below(20, "a wrong checksum") == 0) served.crc ^= 1;
      storage::Key echoed = key.kind() == storage::KeyKind::kBlock
                                ? storage::Key::block(std::get<wal::BlockId>(page))
                                : storage::Key::slru_block(std::get<wal::SlruPage>(page));
      proto::PageAnswer* answer = response.message.add_pages();
      answer->set_key(echoed.bytes.data(), storage::kKeySize);
      answer->set_lsn(run.request_lsn());
      answer->set_crc32c(served.crc);
      response.attachments.push_back(std::move(served.page));
    }
  }
  return response;
}

Status send_backup(StorageModel& storage, Lsn at, RpcStream& stream) {
  VARVE_TRY(wait_for(storage, at));
  if (storage.ingested() != at) return Status(Code::kStale, "the log goes on");
  const Manifest manifest = storage.manifest();
  proto::BaseBackupItem item;
  proto::BaseBackupStart* start = item.mutable_start();
  start->set_lsn(manifest.lsn.value);
  start->set_last_record_start(manifest.previous.value);
  start->set_postgres_major(manifest.major);
  start->set_system_id(kSystemId);
  start->set_segment_size(kTestSegment);
  const auto counters = manifest.state.encode(*test_identity().version);
  start->set_checkpoint_state(counters.data(), counters.size());
  start->set_control_file(manifest.control_file.data(), manifest.control_file.size());
  for (const Manifest::SlruSegment& segment : manifest.slru_segments) {
    proto::SparseStatusFile* file = item.add_status_files();
    file->set_slru(static_cast<uint32_t>(segment.slru));
    file->set_segment(segment.segment);
    file->set_blocks(segment.blocks);
  }
  for (const Manifest::Database& database : manifest.databases) {
    proto::BackupDatabase* field = item.add_databases();
    field->set_tablespace(database.tablespace);
    field->set_database(database.database);
  }
  VARVE_TRY(stream.send(RpcPayload(serialize_proto(item))));
  for (const Manifest::RelationMap& map : manifest.relation_maps) {
    item.Clear();
    proto::RelationMapFile* file = item.add_relation_maps();
    file->set_tablespace(map.tablespace);
    file->set_database(map.database);
    VARVE_TRY(stream.send(RpcPayload(serialize_proto(item), {map.content})));
  }
  item.Clear();
  for (const Manifest::Fork& fork : manifest.forks) {
    proto::SparseFile* file = item.add_relations();
    file->set_tablespace(fork.relation.tablespace);
    file->set_database(fork.relation.database);
    file->set_relation(fork.relation.relation);
    file->set_fork(static_cast<uint32_t>(fork.fork));
    file->set_blocks(fork.blocks);
  }
  return stream.send(RpcPayload(serialize_proto(item)));
}

}  // namespace

void add_model_page_methods(World& world, StorageModel& storage, RpcServer& server) {
  add_method_with_attachments<proto::GetPagesRequest, proto::GetPagesResponse>(
      server, storage::kGetPages,
      [&](CallContext& context, WithAttachments<proto::GetPagesRequest> request) -> Result<Pages> {
        VARVE_TRY(authorize(context, request.message.shard().tenant(), request.message.timeline()));
        return get_pages(world, storage, request.message);
      });
  server.add_stream(
      storage::kBaseBackup,
      [&storage](CallContext& context, RpcPayload payload, RpcStream& stream) -> Status {
        proto::BaseBackupRequest request;
        VARVE_TRY(parse_proto(payload.head, storage::kBaseBackup.name, request));
        VARVE_TRY(authorize(context, request.shard().tenant(), request.timeline()));
        return send_backup(storage, Lsn(request.lsn()), stream);
      });
}

}  // namespace varve::test
