#include <map>

#include "storage/format/layer_writer.h"
#include "storage/timeline.h"

namespace varve::storage {

namespace {

constexpr Duration kReaderPause = Duration::millis(5);

}  // namespace

LayerRef Timeline::name_layer(LayerDescriptor descriptor) {
  descriptor.generation = generation_;
  descriptor.number = numbers_.layer++;
  return std::make_shared<const LayerDescriptor>(std::move(descriptor));
}

Status Timeline::put_index(const TimelineIndex& index) {
  const Bytes bytes = encode_index(tenant_.tenant, id_, index);
  // A name whose PUT is in doubt is not used again: it may still arrive, and content may differ by
  // then.
  return retry_until_done(
      [&] {
        const std::string key = index_key(store_.prefix(), generation_, numbers_.index++);
        return world_.objects.put(key, {bytes}).status;
      },
      store_.gives_up());
}

Status Timeline::publish(const std::vector<LayerRef>& added, const std::vector<LayerRef>& removed,
                         std::optional<LogPosition> flushed,
                         const std::function<void()>& on_switch) {
  MutexGuard guard(publishing_, "another index is being written");
  VARVE_TRY(guard.status());
  TimelineIndex next = index_;
  LayerMap map = map_;
  for (const LayerRef& layer : removed) map.remove(layer);
  for (const LayerRef& layer : added) map.insert(layer);
  next.layers = map.all();
  if (flushed) next.flushed = *flushed;
  VARVE_TRY(put_index(next));
  {
    NoSuspend switching;
    index_ = std::move(next);
    map_ = std::move(map);
    on_switch();
  }
  for (const LayerRef& layer : removed) store_.forget(layer);
  level0_changed_.wake_all();
  compaction_wanted_.wake_all();
  return Status();
}

// For a layer that is full, or old.
Status Timeline::wait_for_work() {
  while (frozen_.empty()) {
    const Instant deadline = now() + options_.timeline.flush_interval;
    const Status status = flush_wanted_.wait("nothing to flush", deadline);
    if (!status.is(Code::kDeadlineExceeded)) {
      VARVE_TRY(status);
    } else {
      freeze();
    }
  }
  return Status();
}

Status Timeline::flush_loop() {
  for (;;) {
    VARVE_TRY(wait_for_work());
    // A damaged layer stops compaction for good, but not the log: reads get slower, no page is
    // lost.
    const auto compaction_helps = [&] {
      return compaction_failure_.ok() || policy_of(compaction_failure_.code()).retryable;
    };
    while (map_.level0().size() >= options_.timeline.max_level0_layers && compaction_helps()) {
      VARVE_TRY(level0_changed_.wait("compaction lags behind"));
    }
    VARVE_TRY(flush_oldest());
  }
}

// A layer of many small allocations takes long to free: off the reactor, once no reader has it.
void Timeline::release(std::shared_ptr<OpenLayer> layer) {
  while (layer.use_count() > 1) {
    if (!sleep_for(kReaderPause).ok()) return;  // the last reader frees it
  }
  world_.offload.run([&layer] { layer.reset(); });
}

Status Timeline::flush_oldest() {
  Frozen frozen = frozen_.front();
  // Off the reactor: the frozen layer changes no more, and nothing of it is counted.
  LayerWriter::Finished finished = offload(
      world_.offload,
      [layer = frozen.layer.get(), tenant = tenant_.tenant, id = id_, format = options_.format] {
        LayerWriter writer(LayerKind::kDelta, tenant, id, layer->lsn(), format);
        for (const auto& [key, versions] : layer->values()) {
          for (const OpenLayer::Version& version : versions) {
            writer.add(key, version.lsn, version.bytes);
          }
        }
        return writer.finish(KeyRange::all());
      });
  const LayerRef layer = name_layer(std::move(finished.descriptor));
  VARVE_TRY(store_.add(layer, finished.content));
  VARVE_TRY(publish({layer}, {}, frozen.end, [this] { frozen_.pop_front(); }));
  frozen_changed_.wake_all();
  release(std::move(frozen.layer));
  frozen.reservations.reset();
  if (world_.open_memory != nullptr) world_.open_memory->returned(frozen.reserved);
  return Status();
}

}  // namespace varve::storage
