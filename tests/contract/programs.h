// Small random programs, checked against models.
#pragma once

#include "base/random.h"
#include "runtime/world.h"

namespace varve::contract {

// What a program has to put up with.
struct ProgramRules {
  bool failures = false;  // calls may fail with what a bad disk or network gives
};

// Each runs one program drawn from `random` in a fresh directory or connection, reports through
// gtest, and leaves nothing behind but files below `directory`.
void run_file_program(World& world, const std::string& directory, RandomStream random,
                      ProgramRules rules);
void run_stream_program(World& world, Listener& listener, RandomStream random, ProgramRules rules);

}  // namespace varve::contract
