#include "storage/layer_map.h"

#include <algorithm>

#include "base/check.h"

namespace varve::storage {

const LayerRef* LayerMap::find(const ByKey& layers, const Key& key) {
  auto after = layers.upper_bound(key);
  if (after == layers.begin()) return nullptr;
  const LayerRef& layer = std::prev(after)->second;
  return key < layer->keys.end ? &layer : nullptr;
}

template <class Visitor>
void LayerMap::for_overlapping(const ByKey& layers, const KeyRange& keys, const Visitor& visitor) {
  auto at = layers.upper_bound(keys.start);
  if (at != layers.begin() && keys.start < std::prev(at)->second->keys.end) --at;
  for (; at != layers.end() && at->first < keys.end; ++at) visitor(at->second);
}

void LayerMap::insert(LayerRef layer) {
  ByKey* layers = nullptr;
  if (layer->is_image()) {
    layers = &images_[layer->lsn.start];
  } else {
    const auto after = deltas_.upper_bound(layer->lsn.start);
    if (after != deltas_.end()) VARVE_CHECK(layer->lsn.end <= after->second.lsn.start);
    if (after != deltas_.begin()) {
      const Run& before = std::prev(after)->second;
      VARVE_CHECK(before.lsn == layer->lsn || before.lsn.end <= layer->lsn.start);
    }
    Run& run = deltas_[layer->lsn.start];
    run.lsn = layer->lsn;
    layers = &run.layers;
  }
  for_overlapping(*layers, layer->keys,
                  [](const LayerRef&) { VARVE_UNREACHABLE("two layers of one run overlap"); });
  (*layers)[layer->keys.start] = std::move(layer);
  ++count_;
}

void LayerMap::remove(const LayerRef& layer) {
  --count_;
  if (layer->is_image()) {
    const auto run = images_.find(layer->lsn.start);
    VARVE_CHECK(run != images_.end() && run->second.erase(layer->keys.start) == 1);
    if (run->second.empty()) images_.erase(run);
    return;
  }
  const auto run = deltas_.find(layer->lsn.start);
  VARVE_CHECK(run != deltas_.end() && run->second.layers.erase(layer->keys.start) == 1);
  if (run->second.layers.empty()) deltas_.erase(run);
}

LayerMap::Visit LayerMap::visit(const Key& key, Lsn upto, Lsn image_before) const {
  Visit visit;
  visit.lsn = {Lsn(0), upto + 1};
  for (auto run = images_.upper_bound(upto); run != images_.begin();) {
    --run;
    if (run->first >= image_before) continue;
    if (const LayerRef* image = find(run->second, key)) {
      visit.image = *image;
      visit.lsn.start = run->first + 1;
      break;
    }
  }
  for (auto run = deltas_.upper_bound(upto); run != deltas_.begin();) {
    --run;
    if (run->second.lsn.end <= visit.lsn.start) break;
    if (const LayerRef* layer = find(run->second.layers, key)) visit.deltas.push_back(*layer);
  }
  return visit;
}

LayerMap::Scan LayerMap::scan(const KeyRange& keys, Lsn upto) const {
  Scan scan;
  // The images that show through: nothing below an image matters where it covers.
  std::vector<Column> tiles = {{keys, std::nullopt}};
  std::vector<LayerRef> images;
  for (auto run = images_.begin(); run != images_.end() && run->first <= upto; ++run) {
    for_overlapping(run->second, keys, [&](const LayerRef& layer) {
      const KeyRange part = {std::max(keys.start, layer->keys.start),
                             std::min(keys.end, layer->keys.end)};
      overlay(tiles, {part, run->first});
      images.push_back(layer);
    });
  }
  Lsn floor = Lsn::max();  // where the lowest tile begins
  scan.covered = true;
  for (const Column& tile : tiles) {
    floor = std::min(floor, tile.image.value_or(Lsn(0)));
    if (!tile.image) scan.covered = false;
  }
  for (LayerRef& image : images) {
    const bool shows = std::ranges::any_of(tiles, [&](const Column& tile) {
      return tile.image == image->lsn.start && tile.keys.overlaps(image->keys);
    });
    if (shows) scan.images.push_back(std::move(image));
  }
  for (auto run = deltas_.upper_bound(upto); run != deltas_.begin();) {
    --run;
    if (run->second.lsn.end <= floor) break;
    for_overlapping(run->second.layers, keys,
                    [&](const LayerRef& layer) { scan.deltas.push_back(layer); });
  }
  return scan;
}

void overlay(std::vector<LayerMap::Column>& columns, const LayerMap::Column& over) {
  std::vector<LayerMap::Column> cut;
  bool placed = false;
  for (const LayerMap::Column& column : columns) {
    if (!column.keys.overlaps(over.keys)) {
      cut.push_back(column);
      continue;
    }
    if (column.keys.start < over.keys.start) {
      cut.push_back({{column.keys.start, over.keys.start}, column.image});
    }
    if (!placed) cut.push_back(over);
    placed = true;
    if (over.keys.end < column.keys.end) {
      cut.push_back({{over.keys.end, column.keys.end}, column.image});
    }
  }
  columns = std::move(cut);
}

std::vector<LayerMap::Column> LayerMap::columns(Lsn upto) const {
  std::vector<Column> columns = {{KeyRange::all(), std::nullopt}};
  for (auto run = images_.begin(); run != images_.end() && run->first <= upto; ++run) {
    for (const auto& [start, layer] : run->second) overlay(columns, {layer->keys, run->first});
  }
  return columns;
}

std::vector<LayerRef> LayerMap::level0() const {
  std::vector<LayerRef> layers;
  for (const auto& [start, run] : deltas_) {
    const LayerRef& first = run.layers.begin()->second;
    if (first->is_level0()) layers.push_back(first);
  }
  return layers;
}

size_t LayerMap::count_deltas(const KeyRange& keys, std::optional<Lsn> above) const {
  size_t count = 0;
  for (auto run = deltas_.rbegin(); run != deltas_.rend(); ++run) {
    if (above && run->second.lsn.end <= *above + 1) break;
    bool any = false;
    for_overlapping(run->second.layers, keys, [&](const LayerRef&) { any = true; });
    count += any ? 1 : 0;
  }
  return count;
}

std::optional<Lsn> LayerMap::end() const {
  std::optional<Lsn> end;
  if (!deltas_.empty()) end = deltas_.rbegin()->second.lsn.end;
  if (!images_.empty()) end = std::max(end.value_or(Lsn(0)), images_.rbegin()->first + 1);
  return end;
}

std::vector<LayerRef> LayerMap::all() const {
  std::vector<LayerRef> layers;
  for (const auto& [lsn, by_key] : images_) {
    for (const auto& [key, layer] : by_key) layers.push_back(layer);
  }
  for (const auto& [lsn, run] : deltas_) {
    for (const auto& [key, layer] : run.layers) layers.push_back(layer);
  }
  return layers;
}

}  // namespace varve::storage
