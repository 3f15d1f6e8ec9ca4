#include "tools/oracle/side_effects.h"

#include <variant>
#include <vector>

#include "wal/redo/redo.h"
#include "wal/redo/visibility.h"
#include "wal/visibility.h"

namespace varve::oracle {
namespace {

using wal::Fork;

constexpr Fork kForks[] = {Fork::kMain, Fork::kFreeSpace, Fork::kVisibility, Fork::kInit};

Status change_maps(const wal::Effect& effect, Lsn end, PageMap& pages) {
  std::vector<wal::redo::MapDelta> deltas;
  wal::redo::append_map_deltas(effect, deltas);
  for (const wal::redo::MapDelta& delta : deltas) {
    KnownPage* page = pages.find(delta.page);
    if (page == nullptr) continue;
    VARVE_TRY(wal::redo::apply(delta.page, page->bytes, end, wal::redo::encode(delta.change)));
  }
  return Status();
}

void change_slru(const wal::Effect& effect, Cluster& cluster) {
  std::vector<wal::SlruPage> touched;
  wal::touched_slru_pages(effect, cluster.parameters.track_commit_timestamp, touched);
  for (const wal::SlruPage page : touched) {
    wal::apply_to_slru_page(effect, page, cluster.slru[page]);
  }
  if (std::holds_alternative<wal::ClogTruncate>(effect) ||
      std::holds_alternative<wal::CommitTimestampTruncate>(effect) ||
      std::holds_alternative<wal::MultiXactTruncate>(effect)) {
    std::erase_if(cluster.slru, [&](const auto& entry) {
      return wal::slru_segment_is_removed(effect, entry.first);
    });
  }
}

}  // namespace

Status apply_effect(const wal::Effect& effect, Lsn end, Cluster& cluster) {
  PageMap& pages = cluster.pages;
  VARVE_TRY(change_maps(effect, end, pages));
  change_slru(effect, cluster);
  if (const auto* create = std::get_if<wal::RelationCreate>(&effect)) {
    pages.create(create->relation, create->fork);
  } else if (const auto* cut = std::get_if<wal::RelationTruncate>(&effect)) {
    if (cut->main) pages.truncate(cut->relation, Fork::kMain, cut->blocks);
    if (cut->visibility) {
      pages.truncate(cut->relation, Fork::kVisibility, wal::visibility_pages(cut->blocks));
    }
    if (cut->free_space) pages.truncate(cut->relation, Fork::kFreeSpace, 0);
  } else if (const auto* finished = std::get_if<wal::TransactionEnd>(&effect)) {
    for (size_t i = 0; i < finished->dropped.size(); ++i) {
      const wal::PackedRelation relation = finished->dropped[i];
      for (const Fork fork : kForks) pages.truncate(relation.id, fork, 0);
    }
  } else if (const auto* copy = std::get_if<wal::DatabaseCopy>(&effect)) {
    pages.copy_database(copy->source_database, copy->source_tablespace, copy->database,
                        copy->tablespace);
  } else if (const auto* drop = std::get_if<wal::DatabaseDrop>(&effect)) {
    pages.drop_database(drop->database);
  } else if (const auto* parameters = std::get_if<wal::ServerParameters>(&effect)) {
    cluster.parameters = *parameters;
  }
  return Status();
}

}  // namespace varve::oracle
