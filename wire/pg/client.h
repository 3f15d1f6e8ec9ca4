// The client's side of a Postgres connection over a runtime Stream: for our own services among
// themselves and for the agent's questions to its Postgres. Simple queries, copy in both
// directions, trust or cleartext password.
#pragma once

#include <memory>
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

struct ClientOptions {
  uint64_t message_bytes = 16 << 20;
  uint64_t result_bytes = 64 << 20;

  template <class V>
  static void describe(V&& v) {
    v(&ClientOptions::message_bytes,
      {"pg_message_bytes", "bytes", 256 << 10, 1 << 30, "largest message taken from a server"});
    v(&ClientOptions::result_bytes,
      {"pg_result_bytes", "bytes", 1024, 1 << 30, "largest result of one query, held in memory"});
  }
};

// The last result set of a query, or only its tag.
struct QueryResult {
  std::vector<Column> columns;
  std::vector<std::vector<Value>> rows;
  std::string tag;
  // The value in this row and column; Invalid when there is none or it is NULL.
  Result<std::string> text(size_t row, size_t column) const;
};

class ClientConnection {
 public:
  // Starts a session over `stream` and waits until the server is ready. Refused for a wrong
  // password or token (or whatever the server says), Unsupported for a way of authentication other
  // than trust and cleartext password. `parameters`: user, and perhaps database, replication,
  // options, application_name. Bounded by the fiber's deadline only.
  static Result<std::unique_ptr<ClientConnection>> open(std::unique_ptr<Stream> stream,
                                                        const Parameters& parameters,
                                                        std::string_view password,
                                                        ClientOptions options = {});
  // Aborts the stream unless terminate() came first. Never suspends.
  ~ClientConnection() = default;

  // All of these suspend. An error of the server leaves the connection usable (usable() says so);
  // any other error, cancellation and deadlines included, ends it.

  // Runs a simple query. Full when the result exceeds the limit.
  Result<QueryResult> query(std::string_view sql);
  // Runs a query that enters copy mode in both directions, or from the server only.
  Status start_copy(std::string_view sql);
  // The next CopyData's content; nothing when the server ended the copy. One fiber at a time.
  Result<std::optional<Bytes>> copy_read();
  // One CopyData with these pieces, uncopied. Several fibers may call it.
  Status copy_write(std::vector<Bytes> pieces);
  // Ends our side, drops what the server still sends, and returns how it ended: a result set or a
  // tag. Invariant: no fiber is in copy_read or copy_write.
  Result<QueryResult> end_copy();
  // Says goodbye and closes.
  Status terminate();

  bool usable() const { return lost_.ok(); }
  // What the server told of itself at start-up.
  const Parameters& server_parameters() const { return server_parameters_; }
  // Of the last error that the server sent: its own SQLSTATE, finer than our code.
  const std::string& last_sqlstate() const { return last_sqlstate_; }

 private:
  enum class State : uint8_t { kIdle, kCopyOut, kCopyBoth, kServerEndedCopy };

  ClientConnection(std::unique_ptr<Stream> stream, ClientOptions options);
  Status start(const Parameters& parameters, std::string_view password);
  Status answer_authentication(const Message& message, std::string_view password);
  Status send_query(std::string_view sql);
  Result<Message> next();
  Result<QueryResult> collect();
  Status take_result_message(const Message& message, QueryResult& result, uint64_t& held);
  Status server_error(const Message& message);
  Status write(std::vector<Bytes> pieces);
  Status lost(Status status);

  std::unique_ptr<Stream> stream_;
  ClientOptions options_;
  BufferedReader reader_;
  Mutex writing_;
  State state_ = State::kIdle;
  bool both_ = false;
  Parameters server_parameters_;
  std::string last_sqlstate_;
  Status lost_;
};

}  // namespace varve::pg
