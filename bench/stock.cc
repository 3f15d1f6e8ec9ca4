#include "bench/stock.h"

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/checker/connection.h"

namespace varve::bench {
namespace {

using checker::Connection;
using programs::kPostgresPrograms;
using programs::Program;

constexpr int kReceivers = 3;
constexpr int kRecycledSegments = 32;

Program as_postgres(std::vector<std::string> command, std::string log = "") {
  command[0] = kPostgresPrograms + command[0];
  return {.command = std::move(command), .user = programs::postgres_user(), .log = std::move(log)};
}

}  // namespace

Result<std::unique_ptr<Stock>> Stock::start(const StockOptions& options) {
  std::unique_ptr<Stock> stock(new Stock);
  stock->directory_ = options.directory;
  std::filesystem::create_directories(options.directory);
  std::filesystem::permissions(options.directory, std::filesystem::perms::all);
  const std::string data = options.directory + "/data";
  VARVE_TRY(programs::output_of(as_postgres({"initdb", "-D", data, "-U", "postgres", "-A", "trust",
                                             "--no-locale", "-E", "UTF8", "-N"}),
                                Duration::seconds(120))
                .status());
  VARVE_TRY_ASSIGN(const uint16_t port, programs::free_port());
  stock->target_ = "host=127.0.0.1 user=postgres dbname=postgres port=" + std::to_string(port);
  std::vector<std::string> command = {"postgres",
                                      "-D",
                                      data,
                                      "-p",
                                      std::to_string(port),
                                      "-c",
                                      "listen_addresses=127.0.0.1",
                                      "-c",
                                      "unix_socket_directories="};
  // Room for the recycled segments of warm_log(); behind the others, so that it wins.
  std::vector<std::pair<std::string, std::string>> settings = options.settings;
  settings.emplace_back("min_wal_size", std::to_string(16 * kRecycledSegments) + "MB");
  for (const auto& [name, value] : settings) {
    command.push_back("-c");
    command.push_back(name + "=" + value);
  }
  VARVE_TRY_ASSIGN(auto server, programs::ChildProcess::spawn(
                                    as_postgres(std::move(command), options.directory + "/log")));
  stock->server_ = std::make_unique<programs::ChildProcess>(std::move(server));
  const Status up = Connection::open_patiently(stock->target_, Duration::seconds(30)).status();
  if (!up.ok())
    return Status(Code::kUnavailable, "the peer does not start: " + up.message())
        .with_object(options.directory + "/log");
  if (options.replicated) VARVE_TRY(stock->start_receivers());
  return stock;
}

Stock::~Stock() {
  if (server_ == nullptr) return;
  server_->signal(SIGINT);
  server_->wait(Duration::seconds(30)).status().ignore("killed by its own destructor then");
}

Status Stock::start_receivers() {
  std::string names;
  for (int i = 1; i <= kReceivers; ++i) {
    const std::string name = "receiver" + std::to_string(i);
    const std::string folder = directory_ + "/" + name;
    std::filesystem::create_directory(folder);
    std::filesystem::permissions(folder, std::filesystem::perms::all);
    VARVE_TRY_ASSIGN(auto receiver, programs::ChildProcess::spawn(
                                        as_postgres({"pg_receivewal", "--synchronous", "-D", folder,
                                                     "-d", target_ + " application_name=" + name},
                                                    directory_ + "/" + name + ".log")));
    receivers_.push_back(std::move(receiver));
    names += (names.empty() ? "" : ", ") + name;
  }
  VARVE_TRY_ASSIGN(Connection session, Connection::open(target_));
  VARVE_TRY(
      session.run("alter system set synchronous_standby_names = 'ANY 2 (" + names + ")'").status());
  VARVE_TRY(session.run("select pg_reload_conf()").status());
  for (int attempt = 0; attempt < 3000; ++attempt) {
    VARVE_TRY_ASSIGN(const std::string there,
                     session.value("select count(*) from pg_stat_replication where sync_state = "
                                   "'quorum' and state = 'streaming'"));
    if (there == std::to_string(kReceivers)) return Status();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return Status(Code::kUnavailable, "the peer's receivers do not stream").with_object(directory_);
}

Status Stock::warm_log() {
  VARVE_TRY_ASSIGN(Connection session, Connection::open(target_));
  VARVE_TRY(session.run("create table if not exists bench_filler (i int)").status());
  for (int i = 0; i < kRecycledSegments; ++i) {
    VARVE_TRY(session.run("insert into bench_filler values (1)").status());
    VARVE_TRY(session.run("select pg_switch_wal()").status());
  }
  VARVE_TRY(session.run("drop table bench_filler").status());
  for (int i = 0; i < 2; ++i) VARVE_TRY(session.run("checkpoint").status());
  return Status();
}

Result<std::vector<std::pair<std::string, std::string>>> comparable_settings(
    const std::string& target) {
  VARVE_TRY_ASSIGN(Connection session, Connection::open(target));
  const checker::Answer answer = session.run(
      "select name, current_setting(name) from pg_settings where name in ("
      "'shared_buffers', 'wal_buffers', 'full_page_writes', 'max_wal_size',"
      "'checkpoint_timeout', 'checkpoint_completion_target', 'max_connections', 'work_mem',"
      "'maintenance_work_mem', 'effective_cache_size', 'effective_io_concurrency',"
      "'random_page_cost', 'autovacuum', 'autovacuum_naptime', 'jit', 'bgwriter_delay',"
      "'bgwriter_lru_maxpages', 'wal_compression', 'synchronous_commit', 'commit_delay',"
      "'track_activities', 'track_counts', 'huge_pages', 'max_worker_processes')");
  VARVE_TRY(answer.status());
  std::vector<std::pair<std::string, std::string>> settings;
  for (int i = 0; i < answer.rows(); ++i) settings.emplace_back(answer.at(i, 0), answer.at(i, 1));
  return settings;
}

}  // namespace varve::bench
