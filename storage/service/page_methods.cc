// get_pages and base_backup: what a compute asks.
#include <algorithm>

#include "base/crc32c.h"
#include "proto/pageserver.pb.h"
#include "storage/backup/base_backup.h"
#include "storage/client/methods.h"
#include "storage/service/ids.h"
#include "storage/service/methods.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::storage {
namespace {

// Forks in one item of a base backup: about 20 bytes each.
constexpr size_t kForksPerItem = 4000;

struct Target {
  TenantShardId shard;
  TimelineId timeline;
};

// Whom a request is about; the caller may ask.
template <class Request>
Result<Target> take_target(CallContext& context, const Request& request) {
  Target target;
  VARVE_TRY_ASSIGN(target.shard, take_shard(request.shard()));
  VARVE_TRY_ASSIGN(target.timeline, take_id<TimelineId>(request.timeline(), "the timeline's id"));
  VARVE_TRY(context.authorize(target.shard.tenant, target.timeline));
  return target;
}

// As of where a run is read: as late as the asker allows and ingest has come.
Result<Lsn> effective_lsn(Timeline& timeline, const proto::PageRun& run) {
  const Lsn request(run.request_lsn());
  const Lsn unmodified(run.not_modified_since());
  if (unmodified > request) {
    return Status(Code::kInvalid, "not_modified_since is above the LSN asked for")
        .with_lsn(unmodified);
  }
  VARVE_TRY(timeline.wait_for(unmodified));
  return std::max(unmodified, std::min(request, timeline.last_record()));
}

void set_error(proto::PageAnswer& answer, const Status& status) {
  const Bytes bytes = rpc::encode_status(status);
  VARVE_CHECK(answer.mutable_error()->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
}

struct Wanted {
  std::vector<Key> keys;
  std::vector<wal::BlockId> blocks;  // when the run is of a relation
};

Result<Wanted> expand(const proto::PageRun& run, uint32_t& left) {
  const uint32_t count = std::max<uint32_t>(run.count(), 1);
  Key key;
  if (run.key().size() != kKeySize) return Status(Code::kInvalid, "a page's key is not 18 bytes");
  std::memcpy(key.bytes.data(), run.key().data(), kKeySize);
  const bool block = key.kind() == KeyKind::kBlock;
  const uint32_t first = block ? key.e() : key.b();
  const bool known = block ? key.d() <= static_cast<uint8_t>(wal::Fork::kInit)
                           : key.kind() == KeyKind::kSlruBlock &&
                                 key.a() <= static_cast<uint32_t>(wal::Slru::kMultiXactMember);
  if (!known || count > UINT32_MAX - first) {
    return Status(Code::kInvalid, "no page has the key " + key.to_hex());
  }
  if (count > left) {
    return Status(Code::kInvalid,
                  "more than " + std::to_string(kMaxPagesPerCall) + " pages in one call");
  }
  left -= count;
  Wanted wanted;
  for (uint32_t i = 0; i < count; ++i) {
    if (block) {
      wal::BlockId id = key.to_block();
      id.block = first + i;
      wanted.blocks.push_back(id);
      wanted.keys.push_back(Key::block(id));
    } else {
      wanted.keys.push_back(Key::slru_block({static_cast<wal::Slru>(key.a()), first + i}));
    }
  }
  return wanted;
}

using PagesResponse = WithAttachments<proto::GetPagesResponse>;

void add_answer(PagesResponse& response, const Key& key, Lsn lsn, Result<PageAnswer> page) {
  proto::PageAnswer* answer = response.message.add_pages();
  answer->set_key(key.bytes.data(), kKeySize);
  if (!page.ok()) {
    set_error(*answer, page.status());
    return;
  }
  answer->set_lsn(lsn.value);
  answer->set_beyond_end(page->beyond_end);
  if (page->beyond_end) return;
  answer->set_crc32c(crc32c(page->page));
  response.attachments.push_back(std::move(page->page));
}

Result<PagesResponse> get_pages(Timeline& timeline, const proto::GetPagesRequest& request) {
  const Term writer(request.term());
  if (writer.value != 0) VARVE_TRY(timeline.admit_writer(writer));
  PagesResponse response;
  uint32_t left = kMaxPagesPerCall;
  for (const proto::PageRun& run : request.runs()) {
    VARVE_TRY_ASSIGN(const Wanted wanted, expand(run, left));
    VARVE_TRY_ASSIGN(const Lsn lsn, effective_lsn(timeline, run));
    if (!wanted.blocks.empty()) {
      std::vector<Result<PageAnswer>> pages = timeline.get_pages(wanted.blocks, lsn);
      for (size_t i = 0; i < pages.size(); ++i) {
        add_answer(response, wanted.keys[i], lsn, std::move(pages[i]));
      }
      continue;
    }
    for (const Key& key : wanted.keys) {
      Result<Bytes> bytes = timeline.get_slru_page(key.to_slru_page(), lsn);
      add_answer(response, key, lsn,
                 bytes.ok() ? Result<PageAnswer>(PageAnswer{std::move(*bytes), false})
                            : Result<PageAnswer>(bytes.status()));
    }
  }
  // Reading takes its time, and waiting for ingest more: his successor may have come meanwhile.
  if (writer.value != 0) VARVE_TRY(timeline.admit_writer(writer));
  return response;
}

// --- base backup --------------------------------------------------------------------------------

Result<Lsn> backup_lsn(Timeline& timeline, const proto::BaseBackupRequest& request) {
  const Lsn lsn(request.lsn());
  VARVE_TRY(timeline.wait_for(lsn));
  if (request.past()) {
    VARVE_TRY_ASSIGN(const LogPosition position, timeline.position_at(lsn));
    return position.boundary;
  }
  if (timeline.last_record() != lsn) {
    return Status(Code::kStale, "the log goes on to " + timeline.last_record().to_string() +
                                    ": somebody else has written")
        .with_hint("another compute writes to the branch, or safekeepers lost committed WAL")
        .with_lsn(lsn);
  }
  return lsn;
}

Status send_item(RpcStream& stream, proto::BaseBackupItem& item, std::vector<Bytes> attachments) {
  VARVE_TRY(stream.send(RpcPayload(serialize_proto(item), std::move(attachments))));
  item.Clear();
  return Status();
}

// An item each: a prepared transaction's state has no small limit.
Status send_files(const BaseBackup& backup, RpcStream& stream) {
  proto::BaseBackupItem item;
  for (const BaseBackup::RelationMap& map : backup.relation_maps) {
    proto::RelationMapFile* field = item.add_relation_maps();
    field->set_tablespace(map.tablespace);
    field->set_database(map.database);
    VARVE_TRY(send_item(stream, item, {map.content}));
  }
  for (const BaseBackup::TwoPhase& prepared : backup.two_phase) {
    item.add_two_phase()->set_full_xid(prepared.full_xid);
    VARVE_TRY(send_item(stream, item, {prepared.content}));
  }
  return Status();
}

Status send_backup(const BaseBackup& backup, const wal::Version& version, RpcStream& stream) {
  proto::BaseBackupItem item;
  proto::BaseBackupStart* start = item.mutable_start();
  start->set_lsn(backup.position.boundary.value);
  start->set_last_record_start(backup.position.previous.value);
  start->set_postgres_major(backup.cluster.postgres_major);
  start->set_system_id(backup.cluster.system_id);
  start->set_segment_size(backup.cluster.segment_size);
  const auto counters = backup.counters.encode(version);
  start->set_checkpoint_state(counters.data(), counters.size());
  start->set_control_file(backup.control_file.data(), backup.control_file.size());
  VARVE_TRY(send_item(stream, item, {}));
  for (const BaseBackup::StatusFile& file : backup.status_files) {
    proto::SparseStatusFile* field = item.add_status_files();
    field->set_slru(static_cast<uint32_t>(file.slru));
    field->set_segment(file.segment);
    field->set_blocks(file.pages);
  }
  for (const BaseBackup::Database& database : backup.databases) {
    proto::BackupDatabase* field = item.add_databases();
    field->set_tablespace(database.tablespace);
    field->set_database(database.database);
  }
  for (const auto& [origin, remote] : backup.replication_origins) {
    proto::BackupReplicationOrigin* field = item.add_replication_origins();
    field->set_origin(origin);
    field->set_remote_lsn(remote.value);
  }
  VARVE_TRY(send_item(stream, item, {}));
  VARVE_TRY(send_files(backup, stream));
  for (size_t i = 0; i < backup.forks.size(); ++i) {
    const BaseBackup::Fork& fork = backup.forks[i];
    proto::SparseFile* field = item.add_relations();
    field->set_tablespace(fork.relation.tablespace);
    field->set_database(fork.relation.database);
    field->set_relation(fork.relation.relation);
    field->set_fork(static_cast<uint32_t>(fork.fork));
    field->set_blocks(fork.blocks);
    const bool last = i + 1 == backup.forks.size();
    if (last || (i + 1) % kForksPerItem == 0) VARVE_TRY(send_item(stream, item, {}));
  }
  return Status();
}

}  // namespace

void add_page_methods(RpcServer& server, Pageserver& pageserver) {
  add_method_with_attachments<proto::GetPagesRequest, proto::GetPagesResponse>(
      server, kGetPages,
      [&pageserver](CallContext& context,
                    WithAttachments<proto::GetPagesRequest> request) -> Result<PagesResponse> {
        VARVE_TRY_ASSIGN(const Target target, take_target(context, request.message));
        return pageserver.with_timeline(
            target.shard, std::nullopt, target.timeline,
            [&](Tenant&, Timeline& timeline) { return get_pages(timeline, request.message); });
      });
  server.add_stream(
      kBaseBackup,
      [&pageserver](CallContext& context, RpcPayload payload, RpcStream& stream) -> Status {
        proto::BaseBackupRequest request;
        VARVE_TRY(parse_proto(payload.head, kBaseBackup.name, request));
        VARVE_TRY_ASSIGN(const Target target, take_target(context, request));
        return pageserver.with_timeline(
            target.shard, std::nullopt, target.timeline,
            [&](Tenant&, Timeline& timeline) -> Status {
              VARVE_TRY_ASSIGN(const Lsn lsn, backup_lsn(timeline, request));
              VARVE_TRY_ASSIGN(const BaseBackup backup, make_base_backup(timeline, lsn));
              return send_backup(backup, timeline.version(), stream);
            });
      });
}

}  // namespace varve::storage
