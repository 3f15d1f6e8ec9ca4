#include "compute/agent/plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/codec.h"
#include "base/crc32c.h"
#include "compute/agent/plan_files.h"
#include "compute/agent/relation_path.h"
#include "wal/extent.h"
#include "wal/two_phase.h"
#include "wal/version.h"

namespace varve::compute {
namespace {

Status corrupt(const Manifest& manifest, std::string what) {
  return Status(Code::kCorrupt, "the base backup contradicts itself: " + std::move(what))
      .with_lsn(manifest.lsn);
}

Result<wal::ControlFile> read_control(const Manifest& manifest) {
  const wal::Version* version = wal::version_of_major(manifest.major);
  if (version == nullptr) {
    return Status(Code::kUnsupported,
                  "Postgres " + std::to_string(manifest.major) + " is not known");
  }
  VARVE_TRY_ASSIGN(wal::ControlFile control,
                   wal::parse_control_file(*version, manifest.control_file.span()));
  if (control.data_checksum_version != 0) {
    return Status(Code::kUnsupported, "a cluster with data checksums can't be started")
        .with_hint("pg_checksums --disable before the import");
  }
  if (control.checkpoint.timeline != 1) {
    return Status(Code::kUnsupported, "the cluster is on Postgres' timeline " +
                                          std::to_string(control.checkpoint.timeline) + ", not 1");
  }
  return control;
}

Status check_position(const Manifest& manifest, const wal::ControlFile& control) {
  if (manifest.ingested > manifest.lsn) {
    return Status(Code::kInternal, "storage has read up to " + manifest.ingested.to_string() +
                                       ", beyond the end of the quorum's log")
        .with_lsn(manifest.lsn)
        .with_hint("another compute may be writing, or members of the quorum lost data");
  }
  if (!wal::can_be_boundary(manifest.lsn, control.segment_size))
    return corrupt(manifest, "no record can end at its LSN");
  if (!manifest.previous.valid() || manifest.previous >= manifest.lsn)
    return corrupt(manifest, "its last record would begin at " + manifest.previous.to_string());
  const uint64_t prefix = manifest.page_prefix.size();
  if (prefix != 0 && prefix != manifest.lsn.page_offset())
    return corrupt(manifest, "the bytes before its LSN are not those of the page");
  return Status();
}

bool has_page(const Manifest& manifest, wal::SlruPage page) {
  for (const Manifest::SlruSegment& s : manifest.slru_segments) {
    const uint64_t first = uint64_t{s.segment} * wal::kSlruPagesPerSegment;
    if (s.slru == page.slru && page.page >= first && page.page < first + s.blocks) return true;
  }
  return false;
}

// Pages of transaction status that Postgres reads at start or inside critical sections.
Result<std::set<wal::SlruPage>> first_pages(const Manifest& manifest) {
  const wal::Version& version = *wal::version_of_major(manifest.major);
  const wal::Checkpoint counters = manifest.state.checkpoint(version, manifest.lsn, 0);
  std::set<wal::SlruPage> pages;
  const auto must = [&](wal::Slru slru, uint32_t entry, const std::string& what) -> Status {
    const wal::SlruPage page = wal::slru_page_of(slru, entry);
    if (!has_page(manifest, page))
      return corrupt(manifest, wal::slru_segment_path(page) + " lacks the page of " + what);
    pages.insert(page);
    return Status();
  };
  const auto may = [&](wal::Slru slru, uint32_t entry) {
    const wal::SlruPage page = wal::slru_page_of(slru, entry);
    if (has_page(manifest, page)) pages.insert(page);
  };
  // A counter on a page's edge names a page that nobody has made yet.
  const auto xid = static_cast<uint32_t>(counters.next_xid);
  if (xid % wal::kClogXidsPerPage != 0)
    VARVE_TRY(must(wal::Slru::kClog, xid, "the next xid " + std::to_string(xid)));
  for (const Manifest::TwoPhase& prepared : manifest.two_phase) {
    const auto old = static_cast<uint32_t>(prepared.full_xid);
    VARVE_TRY(must(wal::Slru::kClog, old, "the prepared transaction " + std::to_string(old)));
  }
  may(wal::Slru::kMultiXactOffset, counters.next_multi);
  may(wal::Slru::kMultiXactMember, counters.next_multi_offset);
  if (manifest.state.parameters().track_commit_timestamp) may(wal::Slru::kCommitTimestamp, xid);
  return pages;
}

class Builder {
 public:
  Builder(const Manifest& manifest, StartPlan& plan) : manifest_(manifest), plan_(plan) {}

  Status add_databases() {
    for (const Manifest::Database& d : manifest_.databases) {
      VARVE_TRY_ASSIGN(std::string path, database_directory(d.tablespace, d.database));
      if (!databases_.insert(path).second) return corrupt(manifest_, path + " is there twice");
      plan_.postgres.directories.push_back(path);
      plan_.postgres.files.push_back({path + "/PG_VERSION", version_text(manifest_.major)});
    }
    databases_.insert("global");
    for (const Manifest::RelationMap& map : manifest_.relation_maps) {
      VARVE_TRY_ASSIGN(std::string path, database_directory(map.tablespace, map.database));
      VARVE_TRY(in_directory(path, "a relation map"));
      plan_.postgres.files.push_back({path + "/pg_filenode.map", map.content});
      mapped_.insert(path);
    }
    for (const std::string& path : databases_) {
      if (!mapped_.contains(path)) return corrupt(manifest_, path + " has no relation map");
    }
    return Status();
  }

  // Unlogged relations begin as their init fork says; the pages of their main fork are read from
  // there.
  Status add_relations() {
    std::map<wal::RelationId, uint32_t> unlogged;
    for (const Manifest::Fork& f : manifest_.forks) {
      if (f.fork == wal::Fork::kInit) unlogged[f.relation] = f.blocks;
    }
    for (const auto& [relation, blocks] : unlogged)
      VARVE_TRY(add_fork(relation, wal::Fork::kMain, wal::Fork::kInit, blocks));
    for (const Manifest::Fork& f : manifest_.forks) {
      // The map of free space is not logged: what storage could have of it may lie.
      if (f.fork == wal::Fork::kFreeSpace) continue;
      if (f.fork != wal::Fork::kInit && unlogged.contains(f.relation)) continue;
      VARVE_TRY(add_fork(f.relation, f.fork, f.fork, f.blocks));
    }
    return Status();
  }

  Status add_slrus() {
    for (const Manifest::SlruSegment& s : manifest_.slru_segments) {
      const wal::SlruPage first{s.slru, s.segment * wal::kSlruPagesPerSegment};
      const std::string path = wal::slru_segment_path(first);
      if (s.blocks == 0 || s.blocks > wal::kSlruPagesPerSegment)
        return corrupt(manifest_, path + " has " + std::to_string(s.blocks) + " pages");
      VARVE_TRY(add_lazy(path, s.blocks, first));
    }
    VARVE_TRY_ASSIGN(const std::set<wal::SlruPage> wanted, first_pages(manifest_));
    for (const wal::SlruPage& page : wanted) {
      for (uint32_t i = 0; i < plan_.sources.size(); ++i) {
        const auto* source = std::get_if<wal::SlruPage>(&plan_.sources[i]);
        if (source == nullptr || source->slru != page.slru) continue;
        const uint32_t blocks = plan_.postgres.lazy_files[i].blocks;
        if (page.page < source->page || page.page - source->page >= blocks) continue;
        plan_.wanted_first.emplace_back(i, page.page - source->page);
      }
    }
    return Status();
  }

  Status add_two_phase() {
    const wal::Version& version = *wal::version_of_major(manifest_.major);
    for (const Manifest::TwoPhase& prepared : manifest_.two_phase) {
      const std::string path =
          "pg_twophase/" + wal::two_phase_file_name(version, prepared.full_xid);
      const auto bytes = prepared.content.span();
      if (bytes.size() < 8 || crc32c(bytes.first(bytes.size() - 4)) !=
                                  load_le<uint32_t>(bytes.data() + bytes.size() - 4))
        return corrupt(manifest_, path + " fails its checksum");
      plan_.postgres.files.push_back({path, prepared.content});
    }
    return Status();
  }

 private:
  Status in_directory(const std::string& directory, const std::string& what) const {
    if (databases_.contains(directory)) return Status();
    return corrupt(manifest_, what + " lies in " + directory + ", which is no database");
  }

  Status add_fork(const wal::RelationId& relation, wal::Fork fork, wal::Fork source,
                  uint32_t blocks) {
    VARVE_TRY_ASSIGN(std::string directory,
                     database_directory(relation.tablespace, relation.database));
    VARVE_TRY(in_directory(directory, relation.to_string()));
    // At least one file; the last of a relation that fills its files exactly is a full one.
    uint64_t first = 0;
    do {
      const auto here =
          static_cast<uint32_t>(std::min<uint64_t>(blocks - first, kBlocksPerSegment));
      const auto segment = static_cast<uint32_t>(first / kBlocksPerSegment);
      VARVE_TRY_ASSIGN(std::string path, relation_path(relation, fork, segment));
      VARVE_TRY(add_lazy(path, here, wal::BlockId{relation, source, static_cast<uint32_t>(first)}));
      first += kBlocksPerSegment;
    } while (first < blocks);
    return Status();
  }

  Status add_lazy(const std::string& path, uint32_t blocks, PageKey source) {
    if (!paths_.insert(path).second) return corrupt(manifest_, path + " is there twice");
    if (blocks == 0) {
      plan_.postgres.files.push_back({path, Bytes()});
      return Status();
    }
    plan_.postgres.lazy_files.push_back({path, blocks});
    plan_.sources.push_back(source);
    return Status();
  }

  const Manifest& manifest_;
  StartPlan& plan_;
  std::set<std::string> databases_, mapped_, paths_;
};

}  // namespace

std::string page_key_text(const PageKey& key) {
  if (const auto* block = std::get_if<wal::BlockId>(&key)) return block->to_string();
  const auto& page = std::get<wal::SlruPage>(key);
  return std::string(wal::slru_directory(page.slru)) + " page " + std::to_string(page.page);
}

PageKey page_of(const StartPlan& plan, uint32_t file, uint32_t block) {
  VARVE_CHECK(file < plan.sources.size());
  VARVE_CHECK(block < plan.postgres.lazy_files[file].blocks);
  PageKey key = plan.sources[file];
  if (auto* id = std::get_if<wal::BlockId>(&key)) {
    id->block += block;
  } else {
    std::get<wal::SlruPage>(key).page += block;
  }
  return key;
}

Result<ForgedRecord> forge_start(const Manifest& manifest, const ComputeSettings& settings,
                                 WallTime now) {
  VARVE_TRY_ASSIGN(const wal::ControlFile control, read_control(manifest));
  VARVE_TRY(check_position(manifest, control));
  VARVE_TRY(check_settings(settings, manifest.major));
  const wal::Version& version = *wal::version_of_major(manifest.major);
  ForgedRecord forged;
  forged.identity = control.identity(version);
  // The place is forge_checkpoint's to fill in; the setting is ours, whatever the log said last.
  wal::Checkpoint counters =
      manifest.state.checkpoint(version, manifest.lsn, now.to_unix_seconds());
  counters.full_page_writes = false;
  if (version.checkpoint_has_wal_level) counters.wal_level = 1;
  forged.checkpoint =
      wal::forge_checkpoint(forged.identity, manifest.lsn, manifest.previous, counters);
  // Everything that could refuse the start does so now, before the record is in any log.
  StartPlan plan;
  Builder builder(manifest, plan);
  VARVE_TRY(builder.add_databases());
  VARVE_TRY(builder.add_relations());
  VARVE_TRY(builder.add_slrus());
  VARVE_TRY(builder.add_two_phase());
  VARVE_TRY(prefix_is_sound(manifest, forged.identity));
  return forged;
}

Result<StartPlan> make_plan(const Manifest& manifest, const ComputeSettings& settings,
                            const ForgedRecord& forged, Incarnation nonce, Term term,
                            WallTime now) {
  VARVE_CHECK(forged.checkpoint.boundary == manifest.lsn);
  StartPlan plan;
  PostgresPlan& out = plan.postgres;
  out.nonce = nonce;
  out.term = term;
  out.major = manifest.major;
  out.wal_segment_size = forged.identity.segment_size;
  out.directories = fixed_directories();
  VARVE_TRY(add_configuration(manifest, settings, out));
  Builder builder(manifest, plan);
  VARVE_TRY(builder.add_databases());
  VARVE_TRY(builder.add_relations());
  VARVE_TRY(builder.add_slrus());
  VARVE_TRY(builder.add_two_phase());
  VARVE_TRY(add_log_segments(manifest, forged, out));
  VARVE_TRY_ASSIGN(const std::vector<uint8_t> control,
                   wal::forge_control_file(*forged.identity.version, manifest.control_file.span(),
                                           {forged.checkpoint.start, forged.checkpoint.checkpoint,
                                            manifest.state.parameters(), now.to_unix_seconds()}));
  out.control_file = {"global/pg_control", Bytes::copy(control)};
  return plan;
}

}  // namespace varve::compute
