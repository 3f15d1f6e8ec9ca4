#include "control/store/rows.h"

#include <charconv>

namespace varve::control {
namespace {

constexpr int64_t kApplication = 0x56415256;  // "VARV"
constexpr int64_t kFormat = 1;

// What must hold of names and ports is said here a second time: a planning function that forgot it
// ends in an error, not in two projects of one name. (So a REPLACE is no way to write these rows:
// it would remove whoever has the name.)
constexpr char kSchema[] = R"sql(
CREATE TABLE head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL,
  writer INTEGER NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 0, 0);
CREATE TABLE projects (
  tenant BLOB PRIMARY KEY CHECK (length(tenant) = 16),
  name TEXT NOT NULL,
  phase INTEGER NOT NULL,
  postgres_version INTEGER NOT NULL,
  created INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  system_id INTEGER NOT NULL,
  segment_size INTEGER NOT NULL,
  operation BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX project_names ON projects (name) WHERE phase <> 3;
CREATE TABLE branches (
  tenant BLOB NOT NULL CHECK (length(tenant) = 16),
  timeline BLOB NOT NULL CHECK (length(timeline) = 16),
  name TEXT NOT NULL,
  phase INTEGER NOT NULL,
  parent BLOB,
  start_lsn INTEGER NOT NULL,
  created INTEGER NOT NULL,
  missing TEXT NOT NULL,
  operation BLOB NOT NULL,
  PRIMARY KEY (tenant, timeline),
  UNIQUE (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE endpoints (
  tenant BLOB NOT NULL CHECK (length(tenant) = 16),
  name TEXT NOT NULL,
  timeline BLOB NOT NULL CHECK (length(timeline) = 16),
  port INTEGER NOT NULL UNIQUE,
  start INTEGER NOT NULL,
  stopped INTEGER NOT NULL,
  wanted INTEGER NOT NULL,
  immediately INTEGER NOT NULL,
  operation BLOB NOT NULL,
  PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE pageservers (
  node INTEGER PRIMARY KEY,
  incarnation INTEGER NOT NULL
) STRICT;
CREATE TABLE tombstones (
  tenant BLOB NOT NULL CHECK (length(tenant) = 16),
  timeline BLOB NOT NULL CHECK (length(timeline) = 16),
  pending TEXT NOT NULL,
  PRIMARY KEY (tenant, timeline)
) STRICT, WITHOUT ROWID;
CREATE TABLE operations (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  method INTEGER NOT NULL,
  digest INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  finished INTEGER NOT NULL,
  failure INTEGER NOT NULL,
  message TEXT NOT NULL,
  object TEXT NOT NULL,
  hint TEXT NOT NULL,
  response BLOB NOT NULL
) STRICT, WITHOUT ROWID;
)sql";

Result<int64_t> pragma(Database& database, const char* sql) {
  VARVE_TRY_ASSIGN(Statement statement, database.prepare(sql));
  VARVE_TRY_ASSIGN(const bool row, statement.step());
  return row ? statement.signed_number() : 0;
}

// Numbers in the order of the set: "11 12 13".
std::string nodes_text(const std::set<NodeId>& nodes) {
  std::string text;
  for (const NodeId node : nodes) text += (text.empty() ? "" : " ") + node.to_string();
  return text;
}

bool parse_nodes(const std::string& text, std::set<NodeId>& nodes) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    uint64_t node = 0;
    const auto [next, error] = std::from_chars(at, end, node);
    if (error != std::errc{} || !nodes.insert(NodeId(node)).second) return false;
    if (next == end) return true;
    if (*next != ' ' || next + 1 == end) return false;
    at = next + 1;
  }
  return true;
}

std::span<const uint8_t> blob_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

Status malformed(const char* table) {
  return Status(Code::kCorrupt, std::string("a row of table ") + table + " is not what we write")
      .with_hint("restore control's database from a copy");
}

template <class Phase>
bool take_phase(uint64_t number, Phase last, Phase& phase) {
  if (number < 1 || number > static_cast<uint64_t>(last)) return false;
  phase = static_cast<Phase>(number);
  return true;
}

}  // namespace

Status prepare_schema(Database& database) {
  VARVE_TRY_ASSIGN(const int64_t application, pragma(database, "PRAGMA application_id"));
  VARVE_TRY_ASSIGN(const int64_t format, pragma(database, "PRAGMA user_version"));
  if (application == kApplication && format > kFormat) {
    return Status(Code::kUnsupported, "control's database was written by a newer Varve (format " +
                                          std::to_string(format) + ")");
  }
  if (application == kApplication && format == kFormat) return Status();
  VARVE_TRY_ASSIGN(const int64_t tables, pragma(database, "SELECT count(*) FROM sqlite_schema"));
  if (application != 0 || format != 0 || tables != 0) {
    return Status(Code::kCorrupt, "the database is not one of control's");
  }
  VARVE_TRY(database.execute("BEGIN IMMEDIATE"));
  Status status = database.execute(kSchema);
  if (status.ok()) {
    const std::string identity = "PRAGMA application_id = " + std::to_string(kApplication) +
                                 "; PRAGMA user_version = " + std::to_string(kFormat);
    status = database.execute(identity.c_str());
  }
  if (status.ok()) status = database.execute("COMMIT");
  if (!status.ok()) database.execute("ROLLBACK").ignore("the first error counts");
  return status;
}

Result<Rows::Table> Rows::prepare_table(Database& database, const char* put, const char* remove,
                                        const char* all) {
  Table table;
  VARVE_TRY_ASSIGN(table.put, database.prepare(put));
  VARVE_TRY_ASSIGN(table.remove, database.prepare(remove));
  VARVE_TRY_ASSIGN(table.all, database.prepare(all));
  return table;
}

Result<std::unique_ptr<Rows>> Rows::prepare(Database& database) {
  auto rows = std::make_unique<Rows>();
  VARVE_TRY_ASSIGN(
      rows->projects_,
      prepare_table(database,
                    "INSERT INTO projects VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) "
                    "ON CONFLICT (tenant) DO UPDATE SET name = ?2, phase = ?3, "
                    "postgres_version = ?4, created = ?5, generation = ?6, system_id = ?7, "
                    "segment_size = ?8, operation = ?9",
                    "DELETE FROM projects WHERE tenant = ?", "SELECT * FROM projects"));
  VARVE_TRY_ASSIGN(
      rows->branches_,
      prepare_table(database,
                    "INSERT INTO branches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) "
                    "ON CONFLICT (tenant, timeline) DO UPDATE SET name = ?3, phase = ?4, "
                    "parent = ?5, start_lsn = ?6, created = ?7, missing = ?8, operation = ?9",
                    "DELETE FROM branches WHERE tenant = ? AND timeline = ?",
                    "SELECT * FROM branches"));
  VARVE_TRY_ASSIGN(
      rows->endpoints_,
      prepare_table(database,
                    "INSERT INTO endpoints VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) "
                    "ON CONFLICT (tenant, name) DO UPDATE SET timeline = ?3, port = ?4, "
                    "start = ?5, stopped = ?6, wanted = ?7, immediately = ?8, operation = ?9",
                    "DELETE FROM endpoints WHERE tenant = ? AND name = ?",
                    "SELECT * FROM endpoints"));
  VARVE_TRY_ASSIGN(
      rows->pageservers_,
      prepare_table(database, "REPLACE INTO pageservers VALUES (?, ?)",
                    "DELETE FROM pageservers WHERE node = ?", "SELECT * FROM pageservers"));
  VARVE_TRY_ASSIGN(rows->tombstones_,
                   prepare_table(database, "REPLACE INTO tombstones VALUES (?, ?, ?)",
                                 "DELETE FROM tombstones WHERE tenant = ? AND timeline = ?",
                                 "SELECT * FROM tombstones"));
  VARVE_TRY_ASSIGN(
      rows->operations_,
      prepare_table(database, "REPLACE INTO operations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    "DELETE FROM operations WHERE id = ?", "SELECT * FROM operations"));
  return rows;
}

Status Rows::write(const Change& change) {
  return std::visit([&](const auto& record) { return write(record, change.remove); },
                    change.record);
}

Status Rows::write(const Project& r, bool remove) {
  if (remove) return projects_.remove.bind(r.id).run();
  return projects_.put.bind(r.id)
      .bind(r.name)
      .bind(static_cast<uint64_t>(r.phase))
      .bind(r.postgres_version)
      .bind_signed(r.created.microseconds)
      .bind(r.generation.value)
      .bind(r.system_id)
      .bind(r.segment_size)
      .bind(r.operation)
      .run();
}

Status Rows::write(const Branch& r, bool remove) {
  if (remove) return branches_.remove.bind(r.id.tenant).bind(r.id.timeline).run();
  Statement& put = branches_.put;
  put.bind(r.id.tenant).bind(r.id.timeline).bind(r.name).bind(static_cast<uint64_t>(r.phase));
  if (r.parent) {
    put.bind(*r.parent);
  } else {
    put.bind_null();
  }
  return put.bind(r.start.value)
      .bind_signed(r.created.microseconds)
      .bind(nodes_text(r.missing))
      .bind(r.operation)
      .run();
}

Status Rows::write(const Endpoint& r, bool remove) {
  if (remove) return endpoints_.remove.bind(r.tenant).bind(r.name).run();
  return endpoints_.put.bind(r.tenant)
      .bind(r.name)
      .bind(r.timeline)
      .bind(uint64_t{r.port})
      .bind(r.start)
      .bind(r.stopped)
      .bind(uint64_t{r.wanted})
      .bind(uint64_t{r.immediately})
      .bind(r.operation)
      .run();
}

Status Rows::write(const Registration& r, bool remove) {
  if (remove) return pageservers_.remove.bind(r.node.value).run();
  return pageservers_.put.bind(r.node.value).bind(r.incarnation.value).run();
}

Status Rows::write(const Tombstone& r, bool remove) {
  if (remove) return tombstones_.remove.bind(r.id.tenant).bind(r.id.timeline).run();
  return tombstones_.put.bind(r.id.tenant).bind(r.id.timeline).bind(nodes_text(r.pending)).run();
}

Status Rows::write(const Operation& r, bool remove) {
  if (remove) return operations_.remove.bind(r.id).run();
  return operations_.put.bind(r.id)
      .bind(uint64_t{r.method})
      .bind(uint64_t{r.digest})
      .bind(r.sequence)
      .bind(uint64_t{r.finished})
      .bind(static_cast<uint64_t>(r.failure.code))
      .bind(r.failure.message)
      .bind(r.failure.object)
      .bind(r.failure.hint)
      .bind_blob(blob_of(r.response))
      .run();
}

Status Rows::read(State& state) {
  VARVE_TRY(read_projects(state));
  VARVE_TRY(read_branches(state));
  VARVE_TRY(read_endpoints(state));
  VARVE_TRY(read_rest(state));
  return read_operations(state);
}

Status Rows::read_projects(State& state) {
  Statement& row = projects_.all;
  for (;;) {
    VARVE_TRY_ASSIGN(const bool more, row.step());
    if (!more) break;
    Project r;
    r.id = row.id<TenantId>();
    r.name = row.text();
    const bool good = take_phase(row.number(), ProjectPhase::kDeleting, r.phase);
    r.postgres_version = static_cast<uint32_t>(row.number());
    r.created.microseconds = row.signed_number();
    r.generation = Generation(row.number());
    r.system_id = row.number();
    r.segment_size = static_cast<uint32_t>(row.number());
    r.operation = row.id<OperationId>();
    if (!good || !row.well_formed()) return malformed("projects");
    state.projects.emplace(r.id, r);
  }
  return Status();
}

Status Rows::read_branches(State& state) {
  Statement& row = branches_.all;
  for (;;) {
    VARVE_TRY_ASSIGN(const bool more, row.step());
    if (!more) break;
    Branch r;
    r.id.tenant = row.id<TenantId>();
    r.id.timeline = row.id<TimelineId>();
    r.name = row.text();
    bool good = take_phase(row.number(), BranchPhase::kReady, r.phase);
    if (row.is_null()) {
      row.skip();
    } else {
      r.parent = row.id<TimelineId>();
    }
    r.start = Lsn(row.number());
    r.created.microseconds = row.signed_number();
    good = parse_nodes(row.text(), r.missing) && good;
    r.operation = row.id<OperationId>();
    if (!good || !row.well_formed()) return malformed("branches");
    state.branches.emplace(r.id, r);
  }
  return Status();
}

Status Rows::read_endpoints(State& state) {
  Statement& row = endpoints_.all;
  for (;;) {
    VARVE_TRY_ASSIGN(const bool more, row.step());
    if (!more) break;
    Endpoint r;
    r.tenant = row.id<TenantId>();
    r.name = row.text();
    r.timeline = row.id<TimelineId>();
    r.port = static_cast<uint16_t>(row.number());
    r.start = row.number();
    r.stopped = row.number();
    r.wanted = row.number() != 0;
    r.immediately = row.number() != 0;
    r.operation = row.id<OperationId>();
    if (!row.well_formed()) return malformed("endpoints");
    state.endpoints.emplace(EndpointKey{r.tenant, r.name}, r);
  }
  return Status();
}

Status Rows::read_rest(State& state) {
  Statement& servers = pageservers_.all;
  for (;;) {
    VARVE_TRY_ASSIGN(const bool more, servers.step());
    if (!more) break;
    Registration r;
    r.node = NodeId(servers.number());
    r.incarnation = Incarnation(servers.number());
    state.pageservers.emplace(r.node, r);
  }
  Statement& stones = tombstones_.all;
  for (;;) {
    VARVE_TRY_ASSIGN(const bool more, stones.step());
    if (!more) break;
    Tombstone r;
    r.id.tenant = stones.id<TenantId>();
    r.id.timeline = stones.id<TimelineId>();
    if (!parse_nodes(stones.text(), r.pending) || !stones.well_formed())
      return malformed("tombstones");
    state.tombstones.emplace(r.id, r);
  }
  return Status();
}

Status Rows::read_operations(State& state) {
  Statement& row = operations_.all;
  for (;;) {
    VARVE_TRY_ASSIGN(const bool more, row.step());
    if (!more) break;
    Operation r;
    r.id = row.id<OperationId>();
    r.method = static_cast<uint16_t>(row.number());
    r.digest = static_cast<uint32_t>(row.number());
    r.sequence = row.number();
    r.finished = row.number() != 0;
    const uint64_t code = row.number();
    if (code > static_cast<uint64_t>(Code::kInternal)) return malformed("operations");
    r.failure.code = static_cast<Code>(code);
    r.failure.message = row.text();
    r.failure.object = row.text();
    r.failure.hint = row.text();
    r.response = row.blob();
    if (!row.well_formed()) return malformed("operations");
    state.operations.emplace(r.id, r);
  }
  return Status();
}

}  // namespace varve::control
