// From a manifest to the directory, the settings and the log record that a compute starts with.
//
// Pure: values in, values out. Two steps, since the record has to be in the quorum's log before a
// file is written: forge_start() makes the bytes [L, E) once, and the same bytes go to the log and,
// by make_plan(), into the forged segment. What each file is for, and what Postgres does without
// it, is in README.md of this folder.
//
// Refused with a reason (Unsupported): tablespaces, data checksums, settings for logical decoding.
// A manifest that contradicts itself (a counter whose status page does not exist, a damaged control
// file or state file) is Corrupt and names what.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "base/time.h"
#include "compute/agent/manifest.h"
#include "runtime/postgres_host.h"
#include "wal/checkpoint_record.h"
#include "wal/control_file.h"

namespace varve::compute {

// What an endpoint wants of its Postgres.
struct ComputeSettings {
  // Go to postgresql.conf, in this order; users change them with ALTER SYSTEM. A name on which the
  // gate or the start rests is Invalid here (fixed_settings()).
  std::vector<std::pair<std::string, std::string>> parameters;
  // Lines of pg_hba.conf, behind those that reject replication connections.
  std::vector<std::string> host_rules;
  // postgresql.auto.conf as the last life of this endpoint left it; empty if none did.
  std::string auto_conf;
};

// Settings that are given as -c arguments, which neither ALTER SYSTEM nor a file overrules. With
// another value of one of them commits would pass no gate, local recovery would show what no quorum
// holds, or pages would be written that storage can't follow.
std::vector<std::pair<std::string, std::string>> fixed_settings(uint16_t major);

struct ForgedRecord {
  wal::LogIdentity identity;
  wal::ForgedCheckpoint checkpoint;  // bytes [L, E) to be appended; .start is S, .end is E
};

// The first record of the new term, at manifest.lsn. Refuses here already what make_plan() would
// refuse, so that nothing enters the log for a start that can't be.
Result<ForgedRecord> forge_start(const Manifest& manifest, const ComputeSettings& settings,
                                 WallTime now);

// What the agent must know of a plan besides handing it to the host.
struct StartPlan {
  PostgresPlan postgres;  // without resident pages
  // Where the pages of postgres.lazy_files[i] come from: block b of that file is sources[i] + b.
  std::vector<PageKey> sources;
  // Pages that Postgres reads in critical sections, where a wait for storage would be a panic:
  // indexes of a lazy file and a block in it. To be fetched before the start.
  std::vector<std::pair<uint32_t, uint32_t>> wanted_first;
};

// The page that block `block` of lazy file `file` stands for.
PageKey page_of(const StartPlan& plan, uint32_t file, uint32_t block);

// The whole start from a manifest and the record that was forged from it.
Result<StartPlan> make_plan(const Manifest& manifest, const ComputeSettings& settings,
                            const ForgedRecord& forged, Incarnation nonce, Term term, WallTime now);

}  // namespace varve::compute
