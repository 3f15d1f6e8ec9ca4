// New database clusters from the machine's own initdb.
#pragma once

#include <memory>
#include <string>

#include "control/cluster_source.h"
#include "real_io/real_world.h"

namespace varve::tool {

struct InitdbOptions {
  // '%' stands for the major version.
  std::string binaries = "/usr/lib/postgresql/%/bin";
  // Where clusters are made; one that the Postgres user can't enter is replaced as computes'
  // directories are.
  std::string scratch;
  std::string log;  // what initdb says
};

// `real` must outlive it. initdb runs as the user that computes' Postgres runs as, since Postgres
// refuses root.
std::unique_ptr<control::ClusterSource> make_initdb_source(real_io::RealWorld& real,
                                                           InitdbOptions options);

}  // namespace varve::tool
