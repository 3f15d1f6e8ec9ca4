// DIR/varve.toml: settings of a data directory, where they differ from the defaults.
//
//   listen = "10.0.0.5"          # an address of this machine; 127.0.0.1 if absent
//   postgres_binaries = "/opt/postgres-%/bin"   # '%' stands for the major version
//   [safekeeper]                 # a table for each room; keys are the names in its options'
//   describe tail_bytes = "16MiB"         # a number in the option's unit, or a text with a unit
//   [postgres]                   # parameters of every Postgres, as in postgresql.conf
//   shared_buffers = "1GB"
//
// The whole file is checked by whoever reads it, so that a mistake is found by `varve up` and not
// by the one daemon that it concerns.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "compute/agent/keeper.h"
#include "consensus/safekeeper/options.h"
#include "control/options.h"
#include "real_io/postgres/host.h"
#include "real_io/real_world.h"
#include "storage/service/pageserver.h"
#include "supervisor/options.h"
#include "wire/rpc_client.h"
#include "wire/rpc_server.h"

namespace varve::tool {

struct Settings {
  std::string listen = "127.0.0.1";
  supervisor::SupervisorOptions supervisor;
  control::ControlOptions control;
  consensus::SafekeeperOptions safekeeper;
  storage::PageserverOptions pageserver;
  compute::KeeperOptions compute;
  real_io::PostgresHostOptions postgres_host;  // its numbers and its binaries
  real_io::RealOptions io;                     // its numbers
  RpcServerOptions rpc_server;
  RpcClientOptions rpc_client;
  std::vector<std::pair<std::string, std::string>> postgres;
};

// The defaults when there is no such file. Invalid names file, line and key, with the nearest known
// key; an error of TOML's syntax with its line.
Result<Settings> load_settings(const std::string& path);
// What load_settings() reads from `text`; `name` stands for the file in errors.
Result<Settings> parse_settings(const std::string& text, const std::string& name);

// All settings with these values, as a varve.toml: what differs from the defaults stands bare, the
// rest as comments.
std::string describe_settings(const Settings& settings);

}  // namespace varve::tool
