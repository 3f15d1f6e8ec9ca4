#include "compute/agent/digest.h"

#include "wal/effects.h"
#include "wal/redo/delta.h"

namespace varve::compute {

Status digestible(const wal::Version& version, const wal::Record& record) {
  wal::Effect effect;
  VARVE_TRY(wal::parse_effect(version, record, effect));
  for (const wal::BlockReference& block : record.blocks) {
    const auto stored = wal::redo::split(record, block, {});
    if (!stored.ok()) return stored.status();
  }
  return Status();
}

}  // namespace varve::compute
