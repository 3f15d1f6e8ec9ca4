// The tables of the database: how a record becomes a row and a row a record. Internal to this
// folder; everything here blocks.
#pragma once

#include <memory>

#include "control/plan/state.h"
#include "control/store/database.h"

namespace varve::control {

// Makes the tables, unless they are there. Unsupported for a newer format, Corrupt for a database
// that is not ours.
Status prepare_schema(Database& database);

// Statements for every kind of record, prepared once.
class Rows {
 public:
  static Result<std::unique_ptr<Rows>> prepare(Database& database);

  Status write(const Change& change);
  // All records, without the version. Corrupt names the table.
  Status read(State& state);

 private:
  struct Table {
    Statement put;
    Statement remove;
    Statement all;
  };
  static Result<Table> prepare_table(Database& database, const char* put, const char* remove,
                                     const char* all);

  Status write(const Project& record, bool remove);
  Status write(const Branch& record, bool remove);
  Status write(const Endpoint& record, bool remove);
  Status write(const Registration& record, bool remove);
  Status write(const Tombstone& record, bool remove);
  Status write(const Operation& record, bool remove);
  Status read_projects(State& state);
  Status read_branches(State& state);
  Status read_endpoints(State& state);
  Status read_rest(State& state);
  Status read_operations(State& state);

  Table projects_, branches_, endpoints_, pageservers_, tombstones_, operations_;
};

}  // namespace varve::control
