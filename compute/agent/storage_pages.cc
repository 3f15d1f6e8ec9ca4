#include "compute/agent/storage_pages.h"

#include <utility>
#include <variant>

#include "base/backoff.h"
#include "storage/client/backup_client.h"

namespace varve::compute {
namespace {

constexpr BackoffPolicy kBackupRetry{Duration::millis(20), Duration::seconds(1),
                                     Duration::seconds(10)};

RpcClientOptions client_options(NodeId node) {
  RpcClientOptions options;
  options.expected_node = node;
  return options;
}

std::array<uint8_t, 18> wire_key(const PageKey& key) {
  if (const auto* block = std::get_if<wal::BlockId>(&key)) {
    const wal::RelationId& relation = block->relation;
    return storage::relation_page_key(relation.tablespace, relation.database, relation.relation,
                                      static_cast<uint8_t>(block->fork), block->block);
  }
  const auto& page = std::get<wal::SlruPage>(key);
  return storage::status_page_key(static_cast<uint32_t>(page.slru), page.page);
}

// Whether `next` is the page behind `last` in the same fork or file.
bool follows(const PageKey& last, const PageKey& next) {
  if (last.index() != next.index()) return false;
  if (const auto* block = std::get_if<wal::BlockId>(&last)) {
    const auto& after = std::get<wal::BlockId>(next);
    return after.relation == block->relation && after.fork == block->fork &&
           after.block == block->block + 1;
  }
  const auto& page = std::get<wal::SlruPage>(last);
  const auto& after = std::get<wal::SlruPage>(next);
  return after.slru == page.slru && after.page == page.page + 1;
}

std::vector<storage::PageRunRequest> runs_of(const PageQuery& query) {
  std::vector<storage::PageRunRequest> runs;
  for (size_t i = 0; i < query.keys.size(); ++i) {
    if (i > 0 && follows(query.keys[i - 1], query.keys[i])) {
      ++runs.back().count;
      continue;
    }
    runs.push_back({wire_key(query.keys[i]), 1, query.at, query.not_modified_since});
  }
  return runs;
}

// What a call failed with, not a page: asked again, unless our term is over.
Status of_the_call(Status status) {
  if (status.is(Code::kCancelled) || status.is(Code::kDeadlineExceeded) || status.is(Code::kStale))
    return status;
  return Status(Code::kUnavailable, status.to_string());
}

Manifest to_manifest(storage::FetchedBackup backup) {
  Manifest manifest;
  manifest.major = backup.postgres_major;
  // Storage refuses a position that it has passed, so it stood exactly there.
  manifest.lsn = manifest.ingested = backup.lsn;
  manifest.previous = backup.last_record_start;
  manifest.state = backup.counters;
  manifest.control_file = std::move(backup.control_file);
  for (const auto& fork : backup.forks)
    manifest.forks.push_back({fork.relation, fork.fork, fork.blocks});
  for (const auto& file : backup.status_files)
    manifest.slru_segments.push_back({file.slru, file.segment, file.pages});
  for (const auto& database : backup.databases) {
    if (database.database != 0)  // "global" is always there
      manifest.databases.push_back({database.tablespace, database.database});
  }
  for (auto& map : backup.relation_maps)
    manifest.relation_maps.push_back({map.tablespace, map.database, std::move(map.content)});
  for (auto& prepared : backup.two_phase)
    manifest.two_phase.push_back({prepared.full_xid, std::move(prepared.content)});
  for (const auto& origin : backup.replication_origins)
    manifest.origins.push_back({origin.origin, origin.remote_lsn});
  return manifest;
}

}  // namespace

StoragePages::StoragePages(World& world, Config config, Scope& parent)
    : world_(world),
      config_(std::move(config)),
      shard_{config_.id.tenant, 0, 1},
      client_(world.network, world.random, parent, config_.address, config_.token, config_.identity,
              client_options(config_.node)),
      scope_("storage pages", parent) {
  scope_.spawn("connect to the pageserver",
               [this] { client_.peer().status().ignore("the first question connects again"); });
}

StoragePages::~StoragePages() {
  scope_.cancel();
}

Result<Manifest> StoragePages::manifest(Lsn at) {
  Backoff backoff(kBackupRetry);
  for (;;) {
    auto backup = storage::base_backup(client_, shard_, config_.id.timeline, at);
    trouble_ = backup.status();
    if (backup.ok()) return to_manifest(std::move(*backup));
    VARVE_TRY(check_cancelled());
    // Cancelled, and not by us: the pageserver ends.
    if (!backup.is(Code::kUnavailable) && !backup.is(Code::kNotFound) &&
        !backup.is(Code::kCancelled))
      return backup.status();
    backoff.failed(now(), world_.random.below(uint64_t{1} << 63, "backup retry") << 1);
    if (backoff.failures() == 1 || backoff.failures() % 10 == 0) {
      world_.log.info("compute_waits_for_storage", "the base backup is asked for again",
                      {{"why", backup.status()}, {"times", uint64_t{backoff.failures()}}});
    }
    VARVE_TRY(sleep_for(backoff.wait(now())));
  }
}

Result<std::vector<ServedPage>> StoragePages::pages(const PageQuery& query) {
  VARVE_CHECK(!query.keys.empty());
  auto answers =
      storage::get_pages(client_, shard_, config_.id.timeline, runs_of(query), query.term);
  if (!answers.ok()) return of_the_call(answers.status());
  VARVE_CHECK(answers->size() == query.keys.size());
  std::vector<ServedPage> served;
  served.reserve(query.keys.size());
  for (size_t i = 0; i < query.keys.size(); ++i) {
    Result<storage::FetchedPage>& page = (*answers)[i];
    if (!page.ok()) return page.status().with_context(page_key_text(query.keys[i]));
    if (page->beyond_end) {
      return Status(Code::kNotFound,
                    page_key_text(query.keys[i]) + " is behind the end of its file")
          .with_lsn(page->lsn);
    }
    served.push_back({query.keys[i], std::move(page->page), page->crc});
  }
  return served;
}

}  // namespace varve::compute
