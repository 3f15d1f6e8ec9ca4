// The record types whose redo the oracle is to see: a corpus that misses one proves nothing about
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace varve::oracle {

// As pg_waldump prints it: "Heap/INSERT+INIT". A type that is not in the table is named by its
// number.
std::string type_name(uint8_t rmid, uint8_t operation);

// Names of all types that native redo replays.
std::vector<std::string> expected_types();

}  // namespace varve::oracle
