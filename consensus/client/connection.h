// Connections to a safekeeper's Postgres port: as a proposer that pushes, and as a reader of the
// log.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/ids.h"
#include "base/status.h"
#include "consensus/core/membership.h"
#include "consensus/core/message_codec.h"
#include "runtime/network.h"
#include "wire/pg/client.h"
#include "wire/pg/replication.h"

namespace varve::consensus {

// Who asks, for which timeline. The token travels as the password.
struct Credentials {
  TenantTimelineId id;
  std::string token;
  std::string application;  // "varve-proposer", for the other side's log
};

// Opens a session. Refused for a token that is not taken, NotFound for a timeline that is not
// there. Suspends.
Result<std::unique_ptr<pg::ClientConnection>> open_session(Network& network, const Address& address,
                                                           const Credentials& credentials);
Address address_of(const Member& member);

// A conversation of the WAL service. One fiber reads, one writes.
class PushConnection {
 public:
  static Result<std::unique_ptr<PushConnection>> open(Network& network, const Address& address,
                                                      const Credentials& credentials);
  Result<AcceptorMessage> receive();
  Status send(const ProposerMessage& message);
  // Header and WAL as one frame; the pieces are not copied.
  Status send_append(const AppendRequest& header, std::vector<Bytes> wal);

 private:
  explicit PushConnection(std::unique_ptr<pg::ClientConnection> session)
      : session_(std::move(session)) {}
  std::unique_ptr<pg::ClientConnection> session_;
};

// The log as one member holds it, from a position on.
class LogStream {
 public:
  // With a term: up to the member's durable end, for as long as its term is this one. Without: what
  // is committed.
  static Result<std::unique_ptr<LogStream>> open(Network& network, const Address& address,
                                                 const Credentials& credentials, Lsn from,
                                                 std::optional<Term> term);
  // Exactly the next `length` bytes. Suspends until the member has them.
  Result<std::vector<Bytes>> read(uint64_t length);
  // The next piece of WAL, whatever its size; nothing for a keepalive, whose position end() tells.
  // Replies that the sender asks for are the caller's to send (report()).
  Result<std::optional<Bytes>> next();
  // Tells the sender how far this reader is; with feedback it travels on to the proposer.
  Status report(const pg::StandbyStatus& status);
  Status report(const PageserverFeedback& feedback);
  // Where the next byte to be returned lies, and how far the member's log reaches as far as it has
  // told.
  Lsn position() const { return position_; }
  Lsn end() const { return end_; }

 private:
  explicit LogStream(std::unique_ptr<pg::ClientConnection> session)
      : session_(std::move(session)) {}
  std::unique_ptr<pg::ClientConnection> session_;
  Lsn position_;
  Lsn end_;
  Bytes rest_;
};

// What TIMELINE_STATUS tells.
struct MemberPosition {
  Lsn flush;
  Lsn commit;
};
Result<MemberPosition> member_position(Network& network, const Address& address,
                                       const Credentials& credentials);

}  // namespace varve::consensus
