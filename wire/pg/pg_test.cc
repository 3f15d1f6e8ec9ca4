// The Postgres protocol: both sides against each other, and each against bytes that nobody sane
// sends.
#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include "wire/pg/client.h"
#include "wire/pg/command.h"
#include "wire/pg/replication.h"
#include "wire/pg/server.h"
#include "wire/testing/loopback.h"

namespace varve::pg {
namespace {

using testing::FiberHarness;
using testing::LoopbackStream;
using testing::make_streams;
using testing::StreamPair;

// --- Start-up packets ---

TEST(PgStartup, OptionsInAllTheirForms) {
  const auto options = parse_options(
      "-c tenant_id=aa  ztimelineid=bb -cprotocol={\"a\":1} --availability-zone=eu\\ 1 -c x=");
  ASSERT_TRUE(options.ok()) << options.status().to_string();
  EXPECT_EQ(options->find("tenant_id"), "aa");
  EXPECT_EQ(options->find("ztimelineid"), "bb");
  EXPECT_EQ(options->find("protocol"), "{\"a\":1}");
  EXPECT_EQ(options->find("availability_zone"), "eu 1");
  EXPECT_EQ(options->find("x"), "");
  EXPECT_FALSE(options->find("y").has_value());
  for (const char* bad : {"-c", "word", "=x", "-d 3", "-c -c", "--=x"}) {
    EXPECT_TRUE(parse_options(bad).is(Code::kInvalid)) << bad;
  }
}

RC_GTEST_PROP(PgStartup, OptionValuesRoundTrip, (std::string value)) {
  const auto options = parse_options("-c name=" + escape_option(value) + " other=1");
  RC_ASSERT(options.ok());
  RC_ASSERT(options->find("name") == value);
  RC_ASSERT(options->find("other") == "1");
}

TEST(PgStartup, PacketRoundTripsAndRequestsAreKnown) {
  Parameters parameters;
  parameters.add("user", "u");
  parameters.add("options", "a=1");
  const auto packet = encode_startup(parameters);
  const auto startup = parse_startup(std::span(packet).subspan(4));
  ASSERT_TRUE(startup.ok());
  EXPECT_EQ(startup->parameters, parameters);
  EXPECT_EQ(startup->options.find("a"), "1");
  Writer ssl;
  ssl.be<uint32_t>((1234u << 16) | 5679);
  EXPECT_EQ(parse_startup(ssl.span())->kind, StartupKind::kSslRequest);
  Writer old;
  old.be<uint32_t>(2u << 16);
  EXPECT_TRUE(parse_startup(old.span()).is(Code::kUnsupported));
}

RC_GTEST_PROP(PgStartup, HostilePacketsAreValuesOrErrors,
              (std::vector<uint8_t> body, bool versioned)) {
  if (versioned) body.insert(body.begin(), {0, 3, 0, 0});
  (void)parse_startup(body);
}

// --- Replication messages ---

TEST(PgReplication, RoundTrips) {
  const Bytes data = Bytes::copy("some log");
  const Bytes header = encode_xlog_data_header(Lsn(0x1000), Lsn(0x2000), WallTime{5});
  const std::vector<Bytes> pieces{header, data};
  const auto log = parse_sender_message(concatenate(pieces));
  ASSERT_TRUE(log.ok());
  const auto& piece = std::get<XLogData>(*log);
  EXPECT_EQ(piece.start, Lsn(0x1000));
  EXPECT_EQ(piece.end, Lsn(0x2000));
  EXPECT_EQ(piece.data.view(), "some log");
  const Keepalive keepalive{Lsn(7), WallTime{-9}, true};
  EXPECT_EQ(std::get<Keepalive>(*parse_sender_message(encode(keepalive))), keepalive);
  const StandbyStatus status{Lsn(3), Lsn(2), Lsn(1), WallTime{11}, false};
  EXPECT_EQ(std::get<StandbyStatus>(*parse_receiver_message(encode(status))), status);
  const HotStandbyFeedback feedback{WallTime{1}, 0x100000002, 0x300000004};
  EXPECT_EQ(std::get<HotStandbyFeedback>(*parse_receiver_message(encode(feedback))), feedback);
  // On the wire the xid comes first and its epoch second.
  EXPECT_EQ(load_be<uint32_t>(encode(feedback).data() + 9), 2u);
  EXPECT_EQ(load_be<uint32_t>(encode(feedback).data() + 13), 1u);
  const PageserverFeedback pageserver{Bytes::copy("kv")};
  const auto parsed = parse_receiver_message(encode(pageserver));
  EXPECT_EQ(std::get<PageserverFeedback>(*parsed).body.view(), "kv");
}

RC_GTEST_PROP(PgReplication, HostileMessagesAreValuesOrErrors,
              (std::vector<uint8_t> bytes, uint8_t tag)) {
  const char tags[] = {'w', 'k', 'r', 'h', 'z', 'x'};
  if (!bytes.empty()) bytes[0] = static_cast<uint8_t>(tags[tag % 6]);
  const Bytes content = Bytes::copy(bytes);
  (void)parse_sender_message(content);
  (void)parse_receiver_message(content);
}

// --- Commands ---

TEST(PgCommand, StartReplicationInItsForms) {
  TokenReader reader(
      *tokenize("START_REPLICATION SLOT \"a\"\"b\" physical 0/3000000 TIMELINE 1 (term='4', x);"));
  ASSERT_TRUE(reader.take_word("start_replication"));
  const auto command = parse_start_replication(reader);
  ASSERT_TRUE(command.ok()) << command.status().to_string();
  EXPECT_EQ(command->slot, "a\"b");
  EXPECT_EQ(command->start, Lsn(0x3000000));
  EXPECT_EQ(command->timeline, 1u);
  ASSERT_EQ(command->options.size(), 2u);
  EXPECT_EQ(command->options[0], std::make_pair(std::string("term"), std::string("4")));
  EXPECT_EQ(command->options[1].second, "true");
  for (const char* bad : {"SLOT (", "0/1 TIMELINE x", "1", "0/1 rest", "0/1 (a", "0/1 (,)", ""}) {
    TokenReader tokens(*tokenize(bad));
    EXPECT_TRUE(parse_start_replication(tokens).is(Code::kInvalid)) << bad;
  }
  TokenReader logical(*tokenize("SLOT s LOGICAL 0/1"));
  EXPECT_TRUE(parse_start_replication(logical).is(Code::kUnsupported));
  EXPECT_TRUE(tokenize("a 'b").is(Code::kInvalid));
  EXPECT_TRUE(tokenize("a \x01").is(Code::kInvalid));
}

RC_GTEST_PROP(PgCommand, HostileCommandsAreValuesOrErrors, (std::string text)) {
  auto tokens = tokenize(text);
  if (!tokens.ok()) return;
  TokenReader reader(std::move(*tokens));
  (void)parse_start_replication(reader);
  (void)reader.take_options();
  (void)reader.at_end();
}

// --- Both sides ---

// Understands: row N (N rows), fail, echo (copy both, sends back what comes), out (copy out),
// stream (copy both with two fibers).
class TestHandler : public ServerHandler {
 public:
  Status authenticate(const Startup& startup, std::string_view password) override {
    user = startup.parameters.find("user").value_or("");
    if (password != "secret") {
      return Status(Code::kRefused, "the token is wrong").with_hint("ask for another");
    }
    return Status();
  }
  Parameters parameters(const Startup&) override {
    Parameters own;
    own.add("server_version", "15.9");
    own.add("varve", "yes");
    return own;
  }
  Status query(ServerConnection& connection, std::string_view sql) override {
    if (sql.starts_with("row ")) return rows(connection, sql.size() - 4);
    if (sql == "echo") return echo(connection);
    if (sql == "out") return out(connection);
    if (sql == "stream") return stream(connection);
    return Status(Code::kCorrupt, "bad page")
        .with_object("layer 7")
        .with_lsn(Lsn(0x10))
        .with_hint("restore it");
  }
  std::string user;

 private:
  Status rows(ServerConnection& connection, size_t count) {
    VARVE_TRY(connection.send_row_description({{"a"}, {"b", 20, 8}}));
    for (size_t i = 0; i < count; ++i) {
      VARVE_TRY(connection.send_row({std::to_string(i), std::nullopt}));
    }
    return connection.send_command_complete("SELECT " + std::to_string(count));
  }
  Status echo(ServerConnection& connection) {
    VARVE_TRY(connection.begin_copy(ServerConnection::Copy::kBoth));
    while (true) {
      VARVE_TRY_ASSIGN(std::optional<Bytes> piece, connection.copy_read());
      if (!piece) break;
      if (piece->view() == "boom") return Status(Code::kFull, "no room");
      VARVE_TRY(connection.copy_write({std::move(*piece)}));
    }
    VARVE_TRY(connection.end_copy());
    return connection.send_single_row({{"next_tli"}}, {"2"}, "START_STREAMING");
  }
  Status out(ServerConnection& connection) {
    VARVE_TRY(connection.begin_copy(ServerConnection::Copy::kOut));
    for (int i = 0; i < 3; ++i)
      VARVE_TRY(connection.copy_write({Bytes::copy("p"), Bytes::copy("q")}));
    VARVE_TRY(connection.end_copy());
    return connection.send_command_complete("COPY 3");
  }
  Status stream(ServerConnection& connection) {
    VARVE_TRY(connection.begin_copy(ServerConnection::Copy::kBoth));
    Scope scope("stream", Scope::OnError::kCancelOthers);
    for (int writer = 0; writer < 2; ++writer) {
      scope.spawn("writer", [&connection] {
        for (int i = 0; i < 20; ++i) {
          VARVE_TRY(
              connection.copy_write({Bytes::copy("data"), Bytes::copy(std::string(5000, 'x'))}));
        }
        return Status();
      });
    }
    scope.spawn("reader", [&connection] {
      while (true) {
        VARVE_TRY_ASSIGN(const std::optional<Bytes> piece, connection.copy_read());
        if (!piece) return Status();
      }
    });
    VARVE_TRY(scope.join());
    VARVE_TRY(connection.end_copy());
    return connection.send_command_complete("COPY 40");
  }
};

Parameters user(const char* name) {
  Parameters parameters;
  parameters.add("user", name);
  return parameters;
}

// Runs `body` with a client's stream against a server in its own fiber; the server's verdict goes
// to *end.
template <class F>
void with_server(FiberHarness& harness, StreamPair pair, F body, Status* end = nullptr) {
  harness.run([&, pair = std::move(pair)]() mutable {
    TestHandler handler;
    Scope scope("server");
    Status verdict;
    scope.spawn("server", [&] { verdict = ServerConnection(*pair.server, handler).run(); });
    body(std::move(pair.client), handler);
    EXPECT_TRUE(scope.join().ok());
    if (end != nullptr) *end = verdict;
  });
}

TEST(PgConnection, QueriesErrorsAndCopies) {
  FiberHarness harness;
  RandomStream random(1, "pieces");
  Status end(Code::kInternal, "unset");
  with_server(
      harness, make_streams(&random),
      [](std::unique_ptr<Stream> stream, TestHandler& handler) {
        auto opened = ClientConnection::open(std::move(stream), user("me"), "secret");
        ASSERT_TRUE(opened.ok()) << opened.status().to_string();
        ClientConnection& client = **opened;
        EXPECT_EQ(handler.user, "me");
        EXPECT_EQ(client.server_parameters().find("server_version"), "15.9");
        EXPECT_EQ(client.server_parameters().find("integer_datetimes"), "on");

        auto rows = client.query("row 12345");
        ASSERT_TRUE(rows.ok());
        EXPECT_EQ(rows->tag, "SELECT 5");
        EXPECT_EQ(rows->columns[1].type_oid, 20u);
        EXPECT_EQ(*rows->text(4, 0), "4");
        EXPECT_TRUE(rows->text(4, 1).is(Code::kInvalid));

        const auto failed = client.query("fail");
        EXPECT_TRUE(failed.is(Code::kCorrupt));
        EXPECT_EQ(failed.status().message(), "bad page");
        EXPECT_EQ(failed.status().detail().hint, "restore it");
        EXPECT_EQ(failed.status().detail().object, "layer 7, at LSN 0/10");
        EXPECT_EQ(client.last_sqlstate(), "XX001");
        EXPECT_TRUE(client.usable());
        EXPECT_TRUE(client.query(" ;").ok());

        ASSERT_TRUE(client.start_copy("echo").ok());
        ASSERT_TRUE(client.copy_write({Bytes::copy("he"), Bytes::copy("llo")}).ok());
        EXPECT_EQ((*client.copy_read())->view(), "hello");
        const auto ended = client.end_copy();
        ASSERT_TRUE(ended.ok()) << ended.status().to_string();
        EXPECT_EQ(*ended->text(0, 0), "2");

        ASSERT_TRUE(client.start_copy("echo").ok());
        ASSERT_TRUE(client.copy_write({Bytes::copy("boom")}).ok());
        ASSERT_TRUE(client.copy_write({Bytes::copy("more")}).ok());
        EXPECT_TRUE(client.copy_read().is(Code::kFull));
        EXPECT_TRUE(client.copy_read().is(Code::kUnavailable));
        EXPECT_TRUE(client.start_copy("fail").is(Code::kCorrupt));

        ASSERT_TRUE(client.start_copy("out").ok());
        EXPECT_EQ((*client.copy_read())->view(), "pq");
        EXPECT_EQ(client.end_copy()->tag, "COPY 3");

        ASSERT_TRUE(client.start_copy("stream").ok());
        for (int i = 0; i < 40; ++i) ASSERT_EQ((*client.copy_read())->size(), 5004u);
        EXPECT_EQ(client.end_copy()->tag, "COPY 40");
        EXPECT_TRUE(client.terminate().ok());
        EXPECT_TRUE(client.query("row 1").is(Code::kUnavailable));
      },
      &end);
  EXPECT_TRUE(end.ok()) << end.to_string();
}

TEST(PgConnection, AWrongTokenIsToldWhy) {
  FiberHarness harness;
  Status end;
  with_server(
      harness, make_streams(),
      [](std::unique_ptr<Stream> stream, TestHandler&) {
        const auto opened = ClientConnection::open(std::move(stream), user("me"), "wrong");
        EXPECT_TRUE(opened.is(Code::kRefused));
        EXPECT_EQ(opened.status().message(), "the token is wrong");
        EXPECT_EQ(opened.status().detail().hint, "ask for another");
      },
      &end);
  EXPECT_TRUE(end.is(Code::kRefused));
}

TEST(PgConnection, TlsAndGssAreDeclinedAndASilentClientIsDropped) {
  FiberHarness harness;
  Status end;
  with_server(
      harness, make_streams(),
      [](std::unique_ptr<Stream> stream, TestHandler&) {
        for (uint32_t code : {5679u, 5680u}) {
          Writer request;
          request.be<uint32_t>(8);
          request.be<uint32_t>((1234u << 16) | code);
          ASSERT_TRUE(stream->write(Bytes::copy(request.span())).ok());
          EXPECT_EQ(stream->read()->view(), "N");
        }
        EXPECT_TRUE(stream->read().is(Code::kUnavailable));
      },
      &end);
  EXPECT_TRUE(end.is(Code::kDeadlineExceeded)) << end.to_string();
  EXPECT_GE(harness.clock.instant, Instant{1000} + ServerOptions().handshake_timeout);
}

TEST(PgConnection, BytesSentBeforeEncryptionWasDeclinedAreRefused) {
  FiberHarness harness;
  Status end;
  with_server(
      harness, make_streams(),
      [](std::unique_ptr<Stream> stream, TestHandler&) {
        Writer request;
        request.be<uint32_t>(8);
        request.be<uint32_t>((1234u << 16) | 5679);
        request.text("injected");
        ASSERT_TRUE(stream->write(Bytes::copy(request.span())).ok());
        EXPECT_EQ(stream->read()->data()[0], type::kErrorResponse);
      },
      &end);
  EXPECT_TRUE(end.is(Code::kInvalid)) << end.to_string();
}

TEST(PgConnection, ExtendedQueriesAreRefusedOnceAndTheSessionGoesOn) {
  FiberHarness harness;
  Status end;
  with_server(
      harness, make_streams(),
      [](std::unique_ptr<Stream> stream, TestHandler&) {
        Stream& raw = *stream;
        BufferedReader reader(raw);
        ASSERT_TRUE(raw.write(Bytes::copy(encode_startup(user("x")))).ok());
        MessageBuilder builder;
        builder.begin(type::kPassword).cstring("secret");
        builder.end();
        for (uint8_t t : {type::kParse, type::kBind, type::kExecute, type::kSync}) builder.empty(t);
        builder.begin(type::kQuery).cstring("row 1");
        builder.end();
        builder.empty(type::kTerminate);
        ASSERT_TRUE(raw.write(builder.take()).ok());
        std::string types;
        while (true) {
          const auto message = read_message(reader, 10000);
          if (!message.ok()) break;
          if (message->type != type::kParameterStatus) types += static_cast<char>(message->type);
        }
        EXPECT_EQ(types, "RRKZEZTDCZ");
      },
      &end);
  EXPECT_TRUE(end.ok()) << end.to_string();
}

// --- Hostile bytes ---

// What one side wrote in a sane session.
std::vector<uint8_t> record_session(bool of_client) {
  FiberHarness harness;
  std::vector<uint8_t> bytes;
  StreamPair pair = make_streams();
  // A tap: every piece is copied as it passes.
  class Tap : public Stream {
   public:
    Tap(std::unique_ptr<Stream> under, std::vector<uint8_t>& bytes, bool reads)
        : under_(std::move(under)), bytes_(bytes), reads_(reads) {}
    Result<Bytes> read() override {
      auto piece = under_->read();
      if (reads_ && piece.ok())
        bytes_.insert(bytes_.end(), piece->data(), piece->data() + piece->size());
      return piece;
    }
    Status write(std::vector<Bytes> data) override {
      for (const Bytes& piece : data) {
        if (!reads_) bytes_.insert(bytes_.end(), piece.data(), piece.data() + piece.size());
      }
      return under_->write(std::move(data));
    }
    Status close_write() override { return under_->close_write(); }
    void abort() override { under_->abort(); }
    void on_readable(Task spawn) override { under_->on_readable(std::move(spawn)); }
    const Address& peer() const override { return under_->peer(); }

   private:
    std::unique_ptr<Stream> under_;
    std::vector<uint8_t>& bytes_;
    bool reads_;
  };
  with_server(harness, std::move(pair), [&](std::unique_ptr<Stream> stream, TestHandler&) {
    auto tap = std::make_unique<Tap>(std::move(stream), bytes, !of_client);
    auto client = ClientConnection::open(std::move(tap), user("me"), "secret");
    VARVE_CHECK(client.ok());
    VARVE_CHECK((*client)->query("row 123").ok());
    VARVE_CHECK((*client)->start_copy("echo").ok());
    VARVE_CHECK((*client)->copy_write({Bytes::copy("hello")}).ok());
    VARVE_CHECK((*client)->copy_read().ok());
    VARVE_CHECK((*client)->end_copy().ok());
    VARVE_CHECK(!(*client)->query("fail").ok());
    VARVE_CHECK((*client)->terminate().ok());
  });
  return bytes;
}

void mutate(std::vector<uint8_t>& bytes, RandomStream& random) {
  const uint64_t count = random.between(1, 4);
  for (uint64_t i = 0; i < count && !bytes.empty(); ++i) {
    const size_t at = random.below(bytes.size());
    const size_t length = std::min<size_t>(random.between(1, 12), bytes.size() - at);
    switch (random.below(5)) {
      case 0:
        bytes[at] = static_cast<uint8_t>(random.next());
        break;
      case 1:
        bytes.erase(bytes.begin() + static_cast<ptrdiff_t>(at),
                    bytes.begin() + static_cast<ptrdiff_t>(at + length));
        break;
      case 2: {
        const std::vector<uint8_t> piece(bytes.begin() + static_cast<ptrdiff_t>(at),
                                         bytes.begin() + static_cast<ptrdiff_t>(at + length));
        const size_t to = random.below(bytes.size());
        bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(to), piece.begin(), piece.end());
        break;
      }
      case 3:
        bytes.resize(at);
        break;
      case 4:
        for (size_t j = at; j < at + length; ++j) bytes[j] = random.chance(500000) ? 0 : 0xFF;
        break;
    }
  }
}

TEST(PgHostile, AServerSurvivesMutatedSessions) {
  const std::vector<uint8_t> session = record_session(true);
  size_t in_order = 0;
  size_t refused = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    RandomStream random(seed, "hostile client");
    std::vector<uint8_t> bytes = session;
    mutate(bytes, random);
    FiberHarness harness;
    StreamPair pair = make_streams(&random);
    harness.run([&] {
      TestHandler handler;
      ASSERT_TRUE(pair.client->write(Bytes::copy(bytes)).ok());
      ASSERT_TRUE(pair.client->close_write().ok());
      const Status end = ServerConnection(*pair.server, handler).run();
      ++(end.ok() ? in_order : refused);
      EXPECT_FALSE(end.is(Code::kInternal)) << end.to_string();
      EXPECT_LT(pair.server->out().carried, 1u << 20);
    });
  }
  // Both ends of the spectrum were reached, or the mutations say nothing.
  EXPECT_GT(in_order, 100u);
  EXPECT_GT(refused, 1000u);
}

TEST(PgHostile, AClientSurvivesMutatedServers) {
  const std::vector<uint8_t> session = record_session(false);
  size_t opened = 0;
  size_t failed = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    RandomStream random(seed, "hostile server");
    std::vector<uint8_t> bytes = session;
    mutate(bytes, random);
    FiberHarness harness;
    StreamPair pair = make_streams(&random);
    harness.run([&] {
      ASSERT_TRUE(pair.server->write(Bytes::copy(bytes)).ok());
      ASSERT_TRUE(pair.server->close_write().ok());
      auto client = ClientConnection::open(std::move(pair.client), user("me"), "secret");
      if (!client.ok()) {
        ++failed;
        return;
      }
      ++opened;
      (void)(*client)->query("row 123");
      if ((*client)->start_copy("echo").ok()) {
        (void)(*client)->copy_write({Bytes::copy("hello")});
        (void)(*client)->copy_read();
        (void)(*client)->end_copy();
      }
      (void)(*client)->query("fail");
    });
  }
  EXPECT_GT(opened, 500u);
  EXPECT_GT(failed, 500u);
}

TEST(PgHostile, AClaimedLengthIsRefusedBeforeItIsReserved) {
  FiberHarness harness;
  Status end;
  with_server(
      harness, make_streams(),
      [](std::unique_ptr<Stream> stream, TestHandler&) {
        ASSERT_TRUE(stream->write(Bytes::copy(encode_startup(user("x")))).ok());
        Writer writer;
        writer.u8(type::kPassword);
        writer.be<uint32_t>(0x7FFFFFFF);
        ASSERT_TRUE(stream->write(Bytes::copy(writer.span())).ok());
        BufferedReader reader(*stream);
        ASSERT_EQ(read_message(reader, 1000)->type, type::kAuthentication);
        const auto message = read_message(reader, 1000);
        ASSERT_EQ(message->type, type::kErrorResponse);
        EXPECT_EQ(parse_error(message->body)->severity, "FATAL");
      },
      &end);
  EXPECT_TRUE(end.is(Code::kInvalid));
}

RC_GTEST_PROP(PgHostile, RowsAndErrorsAreValuesOrErrors, (std::vector<uint8_t> body)) {
  (void)parse_row_description(body);
  (void)parse_data_row(body);
  const auto error = parse_error(body);
  if (error.ok()) {
    RC_ASSERT(!error->to_status().ok());
  }
}

TEST(PgErrors, EveryCodeOfOursComesBackAsItself) {
  for (const Code code : {Code::kUnavailable, Code::kStale, Code::kBelowCutoff, Code::kNotFound,
                          Code::kExists, Code::kFull, Code::kCorrupt, Code::kUnsupported,
                          Code::kInvalid, Code::kRefused, Code::kInternal, Code::kCancelled}) {
    EXPECT_EQ(code_of_sqlstate(policy_of(code).sqlstate), code) << code_name(code);
  }
}

}  // namespace
}  // namespace varve::pg
