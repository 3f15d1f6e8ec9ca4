#include "storage/plan/compaction.h"

#include <algorithm>

namespace varve::storage {

std::optional<Level0Job> plan_level0(const LayerMap& map, const CompactionOptions& options) {
  std::vector<LayerRef> level0 = map.level0();
  if (level0.size() < options.level0_threshold) return std::nullopt;
  Level0Job job;
  for (LayerRef& layer : level0) {
    if (job.inputs.size() == options.level0_threshold) break;
    if (!job.inputs.empty() && job.inputs.back()->lsn.end != layer->lsn.start) break;
    job.inputs.push_back(std::move(layer));
  }
  job.lsn = {job.inputs.front()->lsn.start, job.inputs.back()->lsn.end};
  return job;
}

std::optional<ImageJob> plan_image(const LayerMap& map, std::vector<LayerMap::Column> base,
                                   const CompactionOptions& options) {
  // Up to where level 1 reaches: above are level 0 layers only.
  Lsn end;
  for (const LayerRef& layer : map.all()) {
    if (!layer->is_image() && !layer->is_level0()) end = std::max(end, layer->lsn.end);
  }
  if (!end.valid()) return std::nullopt;
  std::vector<LayerMap::Column> columns = std::move(base);
  for (LayerMap::Column& column : columns)
    column.image.reset();  // the ancestor's: below all of ours
  for (const LayerMap::Column& own : map.columns(Lsn::max())) {
    if (own.image) overlay(columns, own);
  }
  for (const LayerMap::Column& column : columns) {
    if (column.image && *column.image >= Lsn(end.value - 1)) continue;
    size_t runs = map.count_deltas(column.keys, column.image);
    for (const LayerRef& layer : map.level0()) runs -= layer->lsn.start >= end ? 1 : 0;
    if (runs >= options.image_threshold) return ImageJob{column.keys, Lsn(end.value - 1)};
  }
  return std::nullopt;
}

}  // namespace varve::storage
