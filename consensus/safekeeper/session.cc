#include "consensus/safekeeper/session.h"

#include <charconv>

#include "consensus/safekeeper/push.h"
#include "consensus/safekeeper/sender.h"

namespace varve::consensus {
namespace {

// Both spellings are in use by peers.
std::optional<std::string_view> option(const pg::Startup& startup, std::string_view name,
                                       std::string_view alias) {
  const auto value = startup.options.find(name);
  return value ? value : startup.options.find(alias);
}

constexpr uint32_t kInt4 = 23;

}  // namespace

Status Session::authenticate(const pg::Startup& startup, std::string_view password) {
  const auto tenant_option = option(startup, "tenant_id", "ztenantid");
  const auto timeline_option = option(startup, "timeline_id", "ztimelineid");
  if (!tenant_option || !timeline_option) {
    return Status(Code::kInvalid, "the connection names no timeline")
        .with_hint("add options='-c tenant_id=... -c timeline_id=...' to the connection string");
  }
  const auto tenant = TenantId::parse(*tenant_option);
  const auto timeline = TimelineId::parse(*timeline_option);
  if (!tenant || !timeline) {
    return Status(Code::kInvalid, "tenant_id and timeline_id are 32 hexadecimal digits each");
  }
  id_ = {*tenant, *timeline};
  return tokens_.check(password, id_);
}

pg::Parameters Session::parameters(const pg::Startup&) {
  pg::Parameters parameters;
  // Receivers refuse servers of another major version than they know.
  const auto timeline = registry_.wait_loaded(id_);
  if (timeline.ok()) {
    const uint32_t version = (*timeline)->server().postgres_version;
    parameters.add("server_version",
                   std::to_string(version / 10000) + "." + std::to_string(version % 10000));
  }
  return parameters;
}

Status Session::query(pg::ServerConnection& connection, std::string_view sql) {
  VARVE_TRY_ASSIGN(auto words, pg::tokenize(sql));
  pg::TokenReader tokens(std::move(words));
  if (tokens.take_word("IDENTIFY_SYSTEM")) return identify_system(connection);
  if (tokens.take_word("TIMELINE_STATUS")) return timeline_status(connection);
  if (tokens.take_word("SHOW")) return show(connection, tokens);
  if (tokens.take_word("SET")) return connection.send_command_complete("SET");
  if (tokens.take_word("START_WAL_PUSH")) return push(connection, tokens);
  if (tokens.take_word("START_REPLICATION")) return replicate(connection, tokens);
  return Status(Code::kUnsupported,
                "a safekeeper does not know the command '" + tokens.describe_next() + "'");
}

Status Session::identify_system(pg::ServerConnection& connection) {
  VARVE_TRY_ASSIGN(const auto timeline, registry_.wait_loaded(id_));
  const TimelineStatus status = timeline->status();
  return connection.send_single_row(
      {{"systemid"}, {"timeline", kInt4, 4}, {"xlogpos"}, {"dbname"}},
      {std::to_string(status.state.server.system_id), "1", status.commit.to_string(), std::nullopt},
      "IDENTIFY_SYSTEM");
}

Status Session::timeline_status(pg::ServerConnection& connection) {
  const auto timeline = registry_.wait_loaded(id_);
  VARVE_TRY(connection.send_row_description({{"flush_lsn"}, {"commit_lsn"}}));
  if (timeline.ok()) {
    VARVE_TRY(connection.send_row(
        {(*timeline)->status().flush.to_string(), (*timeline)->status().commit.to_string()}));
  }
  return connection.send_command_complete("TIMELINE_STATUS");
}

// What pg_receivewal and standbys ask before they stream.
Status Session::show(pg::ServerConnection& connection, pg::TokenReader& tokens) {
  if (tokens.take_word("data_directory_mode")) {
    return connection.send_single_row({{"data_directory_mode"}}, {"0700"}, "SHOW");
  }
  if (tokens.take_word("wal_segment_size")) {
    VARVE_TRY_ASSIGN(const auto timeline, registry_.wait_loaded(id_));
    const std::string size = std::to_string(timeline->server().segment_size >> 20) + "MB";
    return connection.send_single_row({{"wal_segment_size"}}, {size}, "SHOW");
  }
  return Status(Code::kUnsupported, "a safekeeper has no setting '" + tokens.describe_next() + "'");
}

Status Session::push(pg::ServerConnection& connection, pg::TokenReader& tokens) {
  VARVE_TRY_ASSIGN(const auto options, tokens.take_options());
  std::string version = "2";
  for (const auto& [name, value] : options) {
    if (name == "proto_version") version = value;
  }
  if (version != "3") {
    return Status(Code::kUnsupported,
                  "this safekeeper speaks version 3 of the WAL service, not " + version);
  }
  VARVE_TRY_ASSIGN(const auto timeline, registry_.wait_loaded(id_));
  VARVE_TRY(connection.begin_copy(pg::ServerConnection::Copy::kBoth));
  return run_push(connection, timeline);
}

// A slot that says whose log it is for. Branches share their system identifier and timeline number,
// so a standby that is pointed to another branch could not tell; by the name of its slot we can.
Status Session::check_slot(const std::string& slot) const {
  constexpr std::string_view kOurs = "timeline_";
  if (!slot.starts_with(kOurs)) return Status();
  const auto meant = TimelineId::parse(slot.substr(kOurs.size()));
  if (meant && *meant == id_.timeline) return Status();
  return Status(Code::kRefused, "the slot " + slot + " is for another timeline than " +
                                    id_.timeline.to_string() + ", which the connection names")
      .with_hint("a copy of one branch can't go on with the log of another");
}

Status Session::replicate(pg::ServerConnection& connection, pg::TokenReader& tokens) {
  VARVE_TRY_ASSIGN(const auto command, pg::parse_start_replication(tokens));
  VARVE_TRY(check_slot(command.slot));
  SenderRequest request;
  request.start = command.start;
  for (const auto& [name, value] : command.options) {
    if (name != "term") continue;
    uint64_t term = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), term);
    if (error != std::errc{} || end != value.data() + value.size()) {
      return Status(Code::kInvalid, "term '" + value + "' is no number");
    }
    request.term = Term(term);
  }
  if (command.timeline > 1) return Status(Code::kInvalid, "the log has timeline number 1 only");
  VARVE_TRY_ASSIGN(const auto timeline, registry_.wait_loaded(id_));
  return run_sender(world_, options_, connection, timeline, request);
}

// ---- server

SafekeeperServer::SafekeeperServer(World& world, TimelineRegistry& registry, TokenCheck& tokens,
                                   const SafekeeperOptions& options, Scope& parent)
    : world_(world),
      registry_(registry),
      tokens_(tokens),
      options_(options),
      scope_("safekeeper", parent) {}

SafekeeperServer::~SafekeeperServer() {
  VARVE_CHECK_MSG(scope_.live() == 0, "the server must be stopped first");
}

Status SafekeeperServer::start(const Address& address) {
  VARVE_TRY_ASSIGN(listener_, world_.network.listen(address));
  scope_.spawn("safekeeper accept", [this] { return accept_fiber(); });
  return Status();
}

Status SafekeeperServer::accept_fiber() {
  for (;;) {
    auto accepted = listener_->accept();
    if (!accepted.ok()) {
      if (accepted.is(Code::kCancelled)) return accepted.status();
      world_.log.warning("accept_failed", "a connection could not be accepted",
                         {{"status", accepted.status()}});
      VARVE_TRY(sleep_for(Duration::millis(100)));
      continue;
    }
    // Shared: a task is copied into its fiber.
    std::shared_ptr<Stream> stream = std::move(*accepted);
    scope_.spawn("safekeeper session", [this, stream] {
      Session session(world_, registry_, tokens_, options_);
      pg::ServerConnection connection(*stream, session);
      connection.run().ignore("told to the peer; a lost peer needs no log line");
    });
  }
}

void SafekeeperServer::stop() {
  scope_.cancel();
  const Shield shield;
  scope_.join().ignore("sessions end with cancellation");
  listener_.reset();
}

}  // namespace varve::consensus
