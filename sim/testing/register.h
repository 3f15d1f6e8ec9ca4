// A small replicated system to try the world on: an atomic register on three replicas, by
// majorities, after Attiya, Bar-Noy and Dolev (1995), with several writers and with replicas that
// persist before they answer.
//
// Also a scenario that every campaign can run: if the world itself were wrong (a sync that loses
// data, bytes out of order), this register would not be linearizable any more.
#pragma once

#include "sim/pairs.h"

namespace varve::sim::testing {

// What can be done wrong. The defaults are right.
struct RegisterBugs {
  bool answers_before_sync = false;
  bool reads_from_one = false;
  bool readers_dont_write_back = false;
};

// Under a drawn plan of faults, then healed; fails if an operation never ends or the history is not
// linearizable.
Scenario register_scenario(std::string name, RegisterBugs bugs = {});

}  // namespace varve::sim::testing
