// Our server against the clients that Postgres ships: psql with replication=1 and pg_receivewal,
// over TCP.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/random.h"
#include "real_io/real_world.h"
#include "wire/pg/command.h"
#include "wire/pg/replication.h"
#include "wire/pg/server.h"

namespace varve::pg {
namespace {

constexpr const char* kBin = "/usr/lib/postgresql/15/bin/";
constexpr uint64_t kSegment = 1 << 20;
constexpr Lsn kStart(0x1000000);
constexpr uint64_t kLogSize = 3 * kSegment + kSegment / 4;

// A directory that goes with the test.
class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/varve_wire_XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string read(const std::string& name) const {
    std::ifstream file(path_ + "/" + name, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

 private:
  std::string path_;
};

// Serves a log of noise: receivers don't look inside.
class LogHandler : public ServerHandler {
 public:
  LogHandler() {
    RandomStream random(1, "log");
    for (size_t i = 0; i < kLogSize; ++i) log.push_back(static_cast<char>(random.next()));
  }
  Status authenticate(const Startup& startup, std::string_view password) override {
    application = startup.parameters.find("application_name").value_or("");
    tenant = startup.options.find("tenant_id").value_or("");
    return password == "good" ? Status()
                              : Status(Code::kRefused, "this is no token").with_hint("ask control");
  }
  Status query(ServerConnection& connection, std::string_view sql) override {
    VARVE_TRY_ASSIGN(std::vector<Token> tokens, tokenize(sql));
    TokenReader reader(std::move(tokens));
    if (reader.take_word("IDENTIFY_SYSTEM")) {
      return connection.send_single_row(
          {{"systemid"}, {"timeline", 23, 4}, {"xlogpos"}, {"dbname"}},
          {"7000000000000000001", "1", kStart.to_string(), std::nullopt}, "IDENTIFY_SYSTEM");
    }
    if (reader.take_word("SHOW")) {
      const std::string name = reader.take_text().value_or("");
      const char* value = name == "wal_segment_size" ? "1MB" : "0700";
      return connection.send_single_row({{name}}, {value}, "SHOW");
    }
    if (reader.take_word("SELECT")) {  // set_config('search_path', '', false)
      return connection.send_single_row({{"set_config"}}, {""}, "SELECT 1");
    }
    if (reader.take_word("START_REPLICATION")) {
      VARVE_TRY_ASSIGN(const StartReplication command, parse_start_replication(reader));
      return stream(connection, command.start);
    }
    return Status(Code::kUnsupported, "no such command").with_hint("try IDENTIFY_SYSTEM");
  }

  std::string log;
  std::string application;
  std::string tenant;
  Watch<Lsn> flushed{Lsn()};

 private:
  Status send(ServerConnection& connection, Lsn start) {
    const Lsn end = kStart + kLogSize;
    for (Lsn at = start; at < end;) {
      const uint64_t size = std::min<uint64_t>(128 << 10, end - at);
      const Bytes data = Bytes::copy(std::string_view(log).substr(at - kStart, size));
      VARVE_TRY(connection.copy_write({encode_xlog_data_header(at, end, WallTime{}), data}));
      at = at + size;
      // A synchronous receiver says what it has on its disk as soon as nothing more comes.
      if (at == kStart + 2 * kSegment + kSegment / 2) {
        VARVE_TRY(flushed.wait_until([at](Lsn lsn) { return lsn >= at; }, "the receiver's flush"));
      }
    }
    return connection.copy_write({encode(Keepalive{end, WallTime{}, true})});
  }
  Status stream(ServerConnection& connection, Lsn start) {
    VARVE_TRY(connection.begin_copy(ServerConnection::Copy::kBoth));
    Scope scope("stream", Scope::OnError::kCancelOthers);
    scope.spawn("sender", [&] { return send(connection, start); });
    scope.spawn("receiver", [&] {
      while (true) {
        VARVE_TRY_ASSIGN(const std::optional<Bytes> content, connection.copy_read());
        if (!content) return Status();
        VARVE_TRY_ASSIGN(const ReceiverMessage message, parse_receiver_message(*content));
        if (const auto* status = std::get_if<StandbyStatus>(&message)) flushed.set(status->flushed);
      }
    });
    VARVE_TRY(scope.join());
    VARVE_TRY(connection.end_copy());
    return connection.send_command_complete("START_STREAMING");
  }
};

struct ClientRun {
  int exit_code = -1;
  std::string output;
};

// One client against one connection's worth of server at a time.
class StockClient : public ::testing::Test {
 protected:
  ClientRun run(const char* program, std::vector<std::string> arguments,
                const std::string& password) {
    real_io::RealOptions options;
    options.root = scratch_.path();
    auto world = real_io::RealWorld::create(options);
    VARVE_CHECK(world.ok());
    ClientRun result;
    const Status status = (*world)->run([&](real_io::RealWorld& real) -> Status {
      DeadlineGuard deadline(Duration::seconds(30));
      VARVE_TRY_ASSIGN(auto listener, real.world().network.listen({"127.0.0.1", 0}));
      Scope scope("server");
      scope.spawn("accept", [&]() -> Status {
        while (true) {
          VARVE_TRY_ASSIGN(std::unique_ptr<Stream> stream, listener->accept());
          ServerConnection(*stream, handler_).run().ignore("the client's exit code is the verdict");
        }
      });
      ProcessCommand command;
      command.name = program;
      command.arguments = {std::string(kBin) + program};
      const std::string port = std::to_string(listener->address().port);
      for (std::string& argument : arguments) {
        const size_t at = argument.find("PORT");
        if (at != std::string::npos) argument.replace(at, 4, port);
        command.arguments.push_back(argument);
      }
      command.environment = {
          {"PGPASSWORD", password}, {"PGCONNECT_TIMEOUT", "10"}, {"LC_ALL", "C"}};
      command.output_path = "output";
      VARVE_TRY_ASSIGN(std::unique_ptr<Process> process, real.processes().spawn(command));
      VARVE_TRY_ASSIGN(result.exit_code, process->wait());
      scope.cancel();
      (void)scope.join();
      return Status();
    });
    EXPECT_TRUE(status.ok()) << status.to_string();
    result.output = scratch_.read("output");
    return result;
  }

  Scratch scratch_;
  LogHandler handler_;
};

const std::string kConnection =
    "host=127.0.0.1 port=PORT user=u dbname=d replication=1 application_name=stock "
    "options='-c tenant_id=42 timeline_id=43'";

TEST_F(StockClient, PsqlAsksForTheSystem) {
  const ClientRun run =
      this->run("psql", {kConnection, "-X", "-At", "-c", "IDENTIFY_SYSTEM"}, "good");
  EXPECT_EQ(run.exit_code, 0) << run.output;
  EXPECT_EQ(run.output, "7000000000000000001|1|0/1000000|\n");
  EXPECT_EQ(handler_.application, "stock");
  EXPECT_EQ(handler_.tenant, "42");
}

TEST_F(StockClient, PsqlPrintsWhatWasWrong) {
  const ClientRun run = this->run("psql", {kConnection, "-X", "-c", "NONSENSE"}, "good");
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.output.find("ERROR:  no such command"), std::string::npos) << run.output;
  EXPECT_NE(run.output.find("HINT:  try IDENTIFY_SYSTEM"), std::string::npos) << run.output;
}

TEST_F(StockClient, ARefusedTokenReachesTheUser) {
  const ClientRun run = this->run("psql", {kConnection, "-X", "-c", "IDENTIFY_SYSTEM"}, "bad");
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_NE(run.output.find("FATAL:  this is no token"), std::string::npos) << run.output;
}

TEST_F(StockClient, PgReceivewalWritesTheLogThatWeSent) {
  std::filesystem::create_directory(scratch_.path() + "/wal");
  const ClientRun run = this->run("pg_receivewal",
                                  {"-d", kConnection, "-D", scratch_.path() + "/wal", "--no-loop",
                                   "--synchronous", "--endpos=0/12FFFFF"},
                                  "good");
  EXPECT_EQ(run.exit_code, 0) << run.output;
  for (uint64_t i = 0; i < 3; ++i) {
    const std::string name = "wal/00000001000000000000001" + std::to_string(i);
    EXPECT_EQ(scratch_.read(name), handler_.log.substr(i * kSegment, kSegment)) << name;
  }
  EXPECT_GE(handler_.flushed.get(), kStart + 2 * kSegment);
}

}  // namespace
}  // namespace varve::pg
