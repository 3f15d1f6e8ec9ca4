// The server's side of a Postgres connection over a runtime Stream: start-up, a token as cleartext
// password, simple queries, copy in both directions. What a query means is the handler's business.
//
//   pg::ServerConnection connection(*stream, handler, options);
//   Status end = connection.run();        // in a fiber of its own
//
// A handler answers a query with rows and a command tag, or enters copy mode; an error that it
// returns becomes an ErrorResponse, and the connection goes on. Extended queries are refused as
// unsupported. TLS and GSS are declined ('N'); a client that insists goes away.
//
// Everything a peer can make us hold is bounded by the options. Malformed or unexpected messages
// end the connection with FATAL; they never end the process.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/options.h"
#include "base/status.h"
#include "runtime/network.h"
#include "runtime/sync.h"
#include "wire/pg/message.h"
#include "wire/pg/startup.h"

namespace varve::pg {

struct ServerOptions {
  Duration handshake_timeout = Duration::seconds(10);
  Duration linger = Duration::seconds(1);
  uint64_t query_bytes = 1 << 20;
  uint64_t copy_bytes = 1 << 20;
  uint64_t buffer_bytes = 64 << 10;

  template <class V>
  static void describe(V&& v) {
    v(&ServerOptions::handshake_timeout, {"pg_handshake_timeout", "ms", 100, 600000,
                                          "a peer that doesn't authenticate frees its place"});
    v(&ServerOptions::linger,
      {"pg_linger", "ms", 0, 60000, "how long a refused client may take to read why"});
    v(&ServerOptions::query_bytes, {"pg_query_bytes", "bytes", 1024, 64 << 20,
                                    "longest query text; larger is a broken or hostile client"});
    v(&ServerOptions::copy_bytes, {"pg_copy_bytes", "bytes", 256 << 10, 64 << 20,
                                   "largest copy message; an append carries 128 KiB of WAL"});
    v(&ServerOptions::buffer_bytes,
      {"pg_buffer_bytes", "bytes", 1, 1 << 20, "rows collected before they are written"});
  }
};

class ServerConnection;

class ServerHandler {
 public:
  virtual ~ServerHandler() = default;
  // Admits the client or says why not; the error ends the connection. May suspend, under the
  // handshake's deadline. `password` is what the client sent in clear: a token.
  virtual Status authenticate(const Startup& startup, std::string_view password) = 0;
  // Run-time parameters told to the client after authentication, besides those that every client
  // expects (server_version, encodings, integer_datetimes, DateStyle, standard_conforming_strings).
  // A name that is among them replaces the built-in value. Never suspends.
  virtual Parameters parameters(const Startup& startup) {
    (void)startup;
    return {};
  }
  // Answers one simple query through `connection`; never empty text. May suspend as long as it
  // likes. On success it has sent a command tag and has left copy mode. All fibers that use the
  // connection have ended when it returns.
  virtual Status query(ServerConnection& connection, std::string_view sql) = 0;
};

class ServerConnection {
 public:
  // `stream` and `handler` must outlive this.
  ServerConnection(Stream& stream, ServerHandler& handler, ServerOptions options = {});

  // The connection's whole life; suspends. Success when the client left in order (Terminate, end of
  // the stream between messages, a cancel or TLS-only request). The stream is aborted or closed for
  // writing at the end.
  Status run();

  // --- For ServerHandler::query. All may suspend; errors mean that the connection is lost. ---

  const Startup& startup() const { return startup_; }
  const Address& peer() const { return stream_.peer(); }
  Status send_row_description(const std::vector<Column>& columns);
  Status send_row(const std::vector<Value>& values);
  // "SELECT 1"
  Status send_command_complete(std::string_view tag);
  // Description, one row, tag.
  Status send_single_row(const std::vector<Column>& columns, const std::vector<Value>& values,
                         std::string_view tag);

  // Enters copy mode. In kBoth one fiber may read while others write.
  enum class Copy : uint8_t { kOut, kBoth };
  Status begin_copy(Copy copy);
  // Sends one CopyData with these pieces, without copying them. Waits for the stream's
  // backpressure. Several fibers may call it; messages don't mix.
  Status copy_write(std::vector<Bytes> pieces);
  // The next CopyData's content (kBoth only); nothing once the client ended its side with CopyDone.
  // Unavailable if it gave up (CopyFail) or left. One fiber at a time; one that was cancelled in
  // here has lost its place in the stream, and the connection ends.
  Result<std::optional<Bytes>> copy_read();
  // Sends CopyDone and, in kBoth, waits for the client's: what it still sends is dropped.
  // Afterwards rows and a tag may follow. Invariant: no fiber is in copy_read or copy_write.
  Status end_copy();

 private:
  // Where the connection stands; decides which messages are legal.
  enum class State : uint8_t { kStartup, kIdle, kQuery, kCopyOut, kCopyBoth, kClosed };

  Status handshake();
  Result<bool> read_startup();
  Status authenticate();
  Status greet();
  Status serve();
  Status dispatch(const Message& message);
  Status run_query(const Message& message);
  Status refuse_extended();
  Status ready_for_query();
  Status maybe_flush();
  Status flush();
  Status write(std::vector<Bytes> pieces);
  Status fatal(Status status);
  void linger();
  Status lost(Status status);

  Stream& stream_;
  ServerHandler& handler_;
  ServerOptions options_;
  BufferedReader reader_;
  MessageBuilder out_;
  Mutex writing_;
  Startup startup_;
  State state_ = State::kStartup;
  bool client_done_ = false;      // CopyDone came in this copy
  bool skip_until_sync_ = false;  // after a refused extended query
  bool told_ = false;             // a FATAL was sent
  Status lost_;  // the first error of the stream; everything after it fails the same way
};

}  // namespace varve::pg
