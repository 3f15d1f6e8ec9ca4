// Who there is to work with, and where. Fixed for a life of control: one machine has one fleet.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "consensus/core/membership.h"
#include "control/plan/intents.h"
#include "runtime/network.h"

namespace varve::control {

struct SafekeeperPlace {
  NodeId node;
  Address rpc;
  Address wal;
};

struct Fleet {
  std::vector<SafekeeperPlace> safekeepers;  // every timeline is on all of them
  NodeId pageserver;
  Address pageserver_rpc;
  NodeId supervisor;
  Address supervisor_rpc;
  std::string endpoint_host;    // where users reach Postgres
  std::string endpoint_listen;  // where it listens: the same, or all addresses
  PortRange endpoint_ports;

  std::set<NodeId> safekeeper_nodes() const;
  // All that hold something of a timeline, and have to be told that it is gone.
  std::set<NodeId> keepers() const;
  // The one membership that there is, under number 1.
  consensus::Membership membership() const;
};

}  // namespace varve::control
