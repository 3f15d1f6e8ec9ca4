// Who may do what: a signed statement of a scope, a tenant, a timeline and an expiry. It travels as
// a Postgres password or in the hello of our RPC, so its text form is one word of letters, digits,
// '-' and '_'.
//
// Signed with Ed25519 (RFC 8032); a token names its key by a fingerprint, so that keys can be
// exchanged while old tokens live. docs/formats/token.md is the page on the bytes. Nothing here
// suspends; a verification takes about 0.1 ms and is made once a connection.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "base/time.h"
#include "runtime/random.h"

namespace varve {

// Stable numbers; they stand in tokens.
enum class TokenScope : uint8_t {
  kTimeline = 1,  // one timeline: a compute
  kTenant = 2,    // every timeline of one tenant
  kNode = 3,      // one of our processes: every tenant, and what processes ask of each other
  kAdmin = 4,     // the operator: management of everything, and every tenant's data
};
const char* token_scope_name(TokenScope scope);

struct TokenClaims {
  TokenScope scope = TokenScope::kTimeline;
  TenantId tenant;        // of kTenant and kTimeline; else zero
  TimelineId timeline;    // of kTimeline; else zero
  uint64_t expiry = 0;    // seconds since 1970 from which on it is void; 0 = never
  std::string issued_to;  // for logs: at most 64 bytes, printable ASCII
  bool operator==(const TokenClaims&) const = default;
};

// Whether claims of scope `held` may do what needs `needed`: timeline < tenant < node, admin; a
// node is no admin and an admin no node.
bool scope_covers(TokenScope held, TokenScope needed);

// Refused, with the claim that doesn't fit, unless `claims` allow what needs `scope` for this
// tenant and timeline (ignored by scopes that don't have them; a zero timeline asks for the whole
// tenant) at `now`.
Status authorize(const TokenClaims& claims, TokenScope scope, const TenantId& tenant,
                 const TimelineId& timeline, WallTime now);

inline constexpr size_t kTokenKeySize = 32;
using TokenPublicKey = std::array<uint8_t, kTokenKeySize>;

// Signs. Holds the private key in memory and wipes it when it goes.
class TokenSigner {
 public:
  // A new key out of what nobody can guess.
  static TokenSigner generate(Random& random);
  static TokenSigner from_seed(const std::array<uint8_t, kTokenKeySize>& seed);
  // PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it; Invalid otherwise.
  static Result<TokenSigner> from_pem(std::string_view pem);
  std::string to_pem() const;

  TokenSigner(const TokenSigner&) = default;
  TokenSigner& operator=(const TokenSigner&) = default;
  ~TokenSigner();

  const TokenPublicKey& public_key() const { return public_key_; }
  // Invariant: the claims are consistent (issued_to, ids that belong to the scope and no others).
  std::string sign(const TokenClaims& claims) const;

 private:
  TokenSigner() = default;
  std::array<uint8_t, kTokenKeySize> seed_{};
  TokenPublicKey public_key_{};
};

// Checks signatures against a few trusted keys.
class TokenVerifier {
 public:
  explicit TokenVerifier(std::vector<TokenPublicKey> keys) : keys_(std::move(keys)) {}
  // SubjectPublicKeyInfo in PEM; several keys may stand one behind the other. Invalid if there is
  // none.
  static Result<TokenVerifier> from_pem(std::string_view pem);
  // A public key as PEM, for the file that verifiers read.
  static std::string to_pem(const TokenPublicKey& key);

  // The claims of an authentic token that has not expired. Refused says what is wrong: no token,
  // not a token, an unknown key, a signature that doesn't match, expired and since when.
  Result<TokenClaims> verify(std::string_view token, WallTime now) const;
  // verify() and authorize() in one.
  Result<TokenClaims> verify_for(std::string_view token, TokenScope scope, const TenantId& tenant,
                                 const TimelineId& timeline, WallTime now) const;

 private:
  std::vector<TokenPublicKey> keys_;
};

}  // namespace varve
