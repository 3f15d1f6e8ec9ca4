// For tests: an empty root timeline in an object store, as the import of a cluster would leave it.
#pragma once

#include "storage/format/layer_writer.h"
#include "storage/remote/index.h"
#include "storage/testing/model_cluster.h"
#include "storage/value.h"

namespace varve::storage::testing {

// Starts at `start`; the record before it at `previous`. Suspends.
inline Status make_root(ObjectStore& objects, const TenantShardId& tenant, const TimelineId& id,
                        Generation generation, Lsn start, Lsn previous) {
  LayerWriter writer(LayerKind::kImage, tenant.tenant, id, {start, start + 1}, {});
  wal::Checkpoint checkpoint;
  checkpoint.next_xid = 700;
  const wal::CheckpointState state(checkpoint, {});
  writer.add(Key::make(KeyKind::kCheckpointState), start,
             make_value(ValueKind::kImage, state.encode(*wal::version_of_major(15))));
  writer.add(Key::make(KeyKind::kControlFile), start,
             make_value(ValueKind::kImage, as_bytes("control file")));
  LayerWriter::Finished file = writer.finish(KeyRange::all());
  file.descriptor.generation = generation;
  const auto layer = std::make_shared<const LayerDescriptor>(file.descriptor);
  const std::string prefix = timeline_prefix(tenant, id);
  VARVE_TRY(objects.put(prefix + layer->name(), file.content).status);
  TimelineIndex index;
  index.cluster = {15, 42, 1 << 20, false};
  index.start = {start, previous, WallTime{0}};
  index.flushed = index.start;
  index.layers = {layer};
  return objects.put(index_key(prefix, generation, 0), {encode_index(tenant.tenant, id, index)})
      .status;
}

}  // namespace varve::storage::testing
