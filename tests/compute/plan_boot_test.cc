// A stock Postgres starts from what compute/agent/plan.h says, in a directory that holds nothing
// else but the pages.
#include "compute/agent/plan.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "compute/agent/relation_path.h"
#include "tests/compute/directory_manifest.h"
#include "tests/wal/stock_server.h"

namespace varve::test {
namespace {

namespace fs = std::filesystem;
using compute::StartPlan;

void create(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.good()) << path;
}

void spill(const std::string& path, uint64_t size,
           const std::vector<PostgresSparseFile::Piece>& pieces) {
  std::vector<uint8_t> bytes(size, 0);
  for (const auto& piece : pieces) {
    std::copy(piece.content.data(), piece.content.data() + piece.content.size(),
              bytes.begin() + static_cast<int64_t>(piece.offset));
  }
  create(path, bytes);
}

// Carries a plan out, every page present: what a host does, without the laziness.
void materialise(const StartPlan& plan, const std::string& original, const std::string& data) {
  const PostgresPlan& p = plan.postgres;
  fs::create_directory(data);
  for (const std::string& directory : p.directories) fs::create_directory(data + "/" + directory);
  for (const PostgresFile& file : p.files)
    spill(data + "/" + file.path, file.content.size(), {{0, file.content}});
  for (const PostgresSparseFile& file : p.sparse_files)
    spill(data + "/" + file.path, file.size, file.pieces);
  for (size_t i = 0; i < p.lazy_files.size(); ++i) {
    const PostgresLazyFile& file = p.lazy_files[i];
    std::string from = file.path;
    if (const auto* id = std::get_if<wal::BlockId>(&plan.sources[i])) {
      auto path =
          compute::relation_path(id->relation, id->fork, id->block / compute::kBlocksPerSegment);
      ASSERT_TRUE(path.ok());
      from = *path;
    }
    std::vector<uint8_t> bytes = read_file(original + "/" + from);
    ASSERT_EQ(bytes.size(), size_t{file.blocks} * kBlockSize) << from;
    create(data + "/" + file.path, bytes);
  }
  spill(data + "/" + p.control_file.path, p.control_file.content.size(),
        {{0, p.control_file.content}});
  fs::permissions(data, fs::perms::owner_all);
  if (geteuid() == 0) (void)!std::system(("chown -R postgres:postgres " + data).c_str());
}

TEST(PlanBoot, StockPostgresRunsFromIt) {
  StockServer server(
      "max_prepared_transactions = 5\ntrack_commit_timestamp = on\nwal_level = replica\n");
  server.start();
  server.sql("postgres",
             "create table t as select g as id, g * 2 as v from generate_series(1, 20000) g;"
             "create index on t (id);"
             "create unlogged table u (id int primary key);"
             "insert into u select generate_series(1, 5000);"
             "create database other;"
             "begin; update t set v = 0 where id = 7; prepare transaction 'p1';"
             "vacuum t;");
  server.stop("fast");

  const compute::Manifest manifest = manifest_of(server.data());
  ASSERT_EQ(manifest.two_phase.size(), 1u);
  compute::ComputeSettings settings;
  settings.parameters = {{"listen_addresses", ""},
                         {"unix_socket_directories", server.directory() + "/socket"}};
  settings.host_rules = {"local all all trust"};
  settings.auto_conf = "max_prepared_transactions = 0\nfsync = off\n";
  const WallTime now = WallTime::from_unix_micros(int64_t{std::time(nullptr)} * 1000000);
  const auto forged = compute::forge_start(manifest, settings, now);
  ASSERT_TRUE(forged.ok()) << forged.status().to_string();
  const auto plan = compute::make_plan(manifest, settings, *forged, Incarnation(1), Term(1), now);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  const std::string data = server.directory() + "/compute";
  materialise(*plan, server.data(), data);

  std::string options;
  for (const std::string& setting : plan->postgres.settings) options += " -c " + setting;
  const std::string programs = "/usr/lib/postgresql/15/bin/";
  const std::string log = server.directory() + "/compute.log";
  const CommandResult started =
      run_as_postgres(programs + "pg_ctl -D " + data + " -l " + log + " -w start -o " + "'" +
                      options + "'" + " >/dev/null");
  const std::string told = run_as_postgres("cat " + log).output;
  ASSERT_EQ(started.exit_code, 0) << told;
  EXPECT_NE(told.find("database system was shut down at"), std::string::npos) << told;
  EXPECT_EQ(told.find("redo starts"), std::string::npos) << told;

  EXPECT_EQ(server.sql("postgres", "select count(*), sum(v) from t;"), "20000|400020000\n");
  EXPECT_EQ(server.sql("postgres", "select count(*) from u;"), "0\n") << "unlogged begins empty";
  EXPECT_EQ(
      server.sql("postgres", "insert into u values (1); select count(*) from u where id = 1;"),
      "1\n");
  EXPECT_EQ(server.sql("postgres", "commit prepared 'p1'; select v from t where id = 7;"), "0\n");
  EXPECT_EQ(server.sql("postgres", "show fsync; show max_prepared_transactions;"), "on\n5\n");
  EXPECT_EQ(server.sql("other", "select count(*) > 100 from pg_class; checkpoint;"), "t\n");
  EXPECT_EQ(server.sql("postgres", "select timeline_id from pg_control_checkpoint();"), "1\n");
  EXPECT_EQ(server.tool("pg_amcheck --heapallindexed -d postgres --install-missing").exit_code, 0);
  // A walsender that names a database passes by the rules for replication in pg_hba.conf.
  for (const char* sender : {"pg_receivewal -D /tmp -n -U postgres",
                             "psql -X -d 'dbname=postgres replication=database' -c "
                             "IDENTIFY_SYSTEM"}) {
    const CommandResult refused = server.tool(sender);
    EXPECT_NE(refused.exit_code, 0) << "replication from a compute must be refused";
    EXPECT_NE(refused.output.find("max_wal_senders"), std::string::npos) << refused.output;
  }
  run_as_postgres(programs + "pg_ctl -D " + data + " -m fast -w stop >/dev/null");

  // The log reads on from the forged record, which stands where the quorum would have it.
  const CommandResult dump = run_as_postgres(programs + "pg_waldump -p " + data + "/pg_wal -s " +
                                             manifest.lsn.to_string() + " -n 1");
  EXPECT_NE(dump.output.find("CHECKPOINT_SHUTDOWN"), std::string::npos) << dump.output;
}

}  // namespace
}  // namespace varve::test
