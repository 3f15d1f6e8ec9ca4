#include "wire/token.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "base/codec.h"

namespace varve {
namespace {

constexpr std::string_view kPrefix = "vt1_";
constexpr size_t kMaxName = 64;
constexpr size_t kFingerprintSize = 4;
constexpr size_t kSignatureSize = 64;
constexpr size_t kFixedSize = 1 + 16 + 16 + 8 + kFingerprintSize + 1;
constexpr size_t kMaxText = 4 + (kFixedSize + kMaxName + kSignatureSize + 2) / 3 * 4;
// Signed before the claims, so that a signature made for anything else never fits a token.
constexpr std::string_view kDomain = "varve token 1";

struct KeyDeleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  void operator()(BIO* bio) const { BIO_free(bio); }
};
template <class T>
using Owned = std::unique_ptr<T, KeyDeleter>;

std::array<uint8_t, kFingerprintSize> fingerprint(const TokenPublicKey& key) {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(key.data(), key.size(), digest.data());
  std::array<uint8_t, kFingerprintSize> first;
  std::copy_n(digest.begin(), first.size(), first.begin());
  return first;
}

std::vector<uint8_t> signed_bytes(std::span<const uint8_t> claims) {
  Writer writer;
  writer.cstring(kDomain);
  writer.bytes(claims);
  return writer.take();
}

// --- base64url without padding (RFC 4648, section 5) ---

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string to_base64url(std::span<const uint8_t> bytes) {
  std::string text;
  uint32_t bits = 0;
  int count = 0;
  for (uint8_t byte : bytes) {
    bits = bits << 8 | byte;
    count += 8;
    while (count >= 6) {
      count -= 6;
      text += kAlphabet[bits >> count & 63];
    }
  }
  if (count > 0) text += kAlphabet[bits << (6 - count) & 63];
  return text;
}

// One text per value: left-over bits must be zero.
std::optional<std::vector<uint8_t>> from_base64url(std::string_view text) {
  std::vector<uint8_t> bytes;
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    const size_t digit = kAlphabet.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<uint8_t>(bits >> count));
    }
  }
  if (count >= 6 || (bits & ((1u << count) - 1)) != 0) return std::nullopt;
  return bytes;
}

// --- Claims ---

bool consistent(const TokenClaims& claims) {
  const bool printable = std::all_of(claims.issued_to.begin(), claims.issued_to.end(),
                                     [](char c) { return c >= ' ' && c <= '~'; });
  if (!printable || claims.issued_to.size() > kMaxName) return false;
  switch (claims.scope) {
    case TokenScope::kTimeline:
      return !claims.tenant.is_zero() && !claims.timeline.is_zero();
    case TokenScope::kTenant:
      return !claims.tenant.is_zero() && claims.timeline.is_zero();
    case TokenScope::kNode:
    case TokenScope::kAdmin:
      return claims.tenant.is_zero() && claims.timeline.is_zero();
  }
  return false;  // a number of no scope, from the wire
}

std::vector<uint8_t> encode_claims(const TokenClaims& claims, const TokenPublicKey& key) {
  Writer writer;
  writer.u8(static_cast<uint8_t>(claims.scope));
  writer.bytes(claims.tenant.bytes);
  writer.bytes(claims.timeline.bytes);
  writer.le(claims.expiry);
  writer.bytes(fingerprint(key));
  writer.u8(static_cast<uint8_t>(claims.issued_to.size()));
  writer.text(claims.issued_to);
  return writer.take();
}

struct ParsedToken {
  TokenClaims claims;
  std::array<uint8_t, kFingerprintSize> fingerprint{};
  std::vector<uint8_t> claim_bytes;
  std::array<uint8_t, kSignatureSize> signature{};
};

std::optional<ParsedToken> parse(std::string_view text) {
  if (!text.starts_with(kPrefix) || text.size() > kMaxText) return std::nullopt;
  const std::optional<std::vector<uint8_t>> bytes = from_base64url(text.substr(kPrefix.size()));
  if (!bytes) return std::nullopt;
  ParsedToken token;
  Reader reader(*bytes);
  token.claims.scope = static_cast<TokenScope>(reader.u8());
  const auto take = [&reader](auto& array) {
    const auto span = reader.bytes(array.size());
    std::copy(span.begin(), span.end(), array.begin());
  };
  take(token.claims.tenant.bytes);
  take(token.claims.timeline.bytes);
  token.claims.expiry = reader.le<uint64_t>();
  take(token.fingerprint);
  const auto name = reader.bytes(reader.u8());
  token.claims.issued_to.assign(name.begin(), name.end());
  token.claim_bytes.assign(bytes->begin(),
                           bytes->begin() + static_cast<ptrdiff_t>(reader.position()));
  take(token.signature);
  if (!reader.done() || !consistent(token.claims)) return std::nullopt;
  return token;
}

bool signature_matches(const ParsedToken& token, const TokenPublicKey& key) {
  const Owned<EVP_PKEY> verifier(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size()));
  if (verifier == nullptr) return false;  // 32 bytes that are no point
  const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
  VARVE_CHECK(context != nullptr);
  const std::vector<uint8_t> message = signed_bytes(token.claim_bytes);
  return EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, verifier.get()) == 1 &&
         EVP_DigestVerify(context.get(), token.signature.data(), token.signature.size(),
                          message.data(), message.size()) == 1;
}

bool expired(const TokenClaims& claims, WallTime now) {
  if (claims.expiry == 0) return false;
  const int64_t seconds = now.to_unix_seconds();
  return seconds >= 0 && static_cast<uint64_t>(seconds) >= claims.expiry;
}

Status refused(std::string why) {
  return Status(Code::kRefused, std::move(why))
      .with_hint("use a current token of this installation");
}

Status expired_status(const TokenClaims& claims) {
  return refused("the token of '" + claims.issued_to + "' has expired at Unix time " +
                 std::to_string(claims.expiry));
}

Owned<EVP_PKEY> private_key(const std::array<uint8_t, kTokenKeySize>& seed) {
  Owned<EVP_PKEY> key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
  VARVE_CHECK_MSG(key != nullptr, "every 32 bytes are an Ed25519 private key");
  return key;
}

std::string contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

}  // namespace

const char* token_scope_name(TokenScope scope) {
  switch (scope) {
    case TokenScope::kTimeline:
      return "timeline";
    case TokenScope::kTenant:
      return "tenant";
    case TokenScope::kNode:
      return "node";
    case TokenScope::kAdmin:
      return "admin";
  }
  VARVE_UNREACHABLE("no such scope");
}

bool scope_covers(TokenScope held, TokenScope needed) {
  switch (needed) {
    case TokenScope::kTimeline:
      return true;
    case TokenScope::kTenant:
      return held != TokenScope::kTimeline;
    case TokenScope::kNode:
    case TokenScope::kAdmin:
      return held == needed;
  }
  VARVE_UNREACHABLE("no such scope");
}

Status authorize(const TokenClaims& claims, TokenScope scope, const TenantId& tenant,
                 const TimelineId& timeline, WallTime now) {
  if (expired(claims, now)) return expired_status(claims);
  const std::string who = "the token of '" + claims.issued_to + "' ";
  if (!scope_covers(claims.scope, scope)) {
    return refused(who + "has scope " + token_scope_name(claims.scope) + ", this needs " +
                   token_scope_name(scope));
  }
  const bool of_tenant = scope == TokenScope::kTenant || scope == TokenScope::kTimeline;
  const bool bound = claims.scope == TokenScope::kTenant || claims.scope == TokenScope::kTimeline;
  if (!of_tenant || !bound) return Status();
  if (claims.tenant != tenant) {
    return refused(who + "is for tenant " + claims.tenant.to_string() + ", not " +
                   tenant.to_string());
  }
  if (claims.scope == TokenScope::kTimeline && claims.timeline != timeline) {
    return refused(who + "is for timeline " + claims.timeline.to_string() + ", not " +
                   (timeline.is_zero() ? "the whole tenant" : timeline.to_string()));
  }
  return Status();
}

// --- TokenSigner ---

TokenSigner::~TokenSigner() {
  OPENSSL_cleanse(seed_.data(), seed_.size());
}

TokenSigner TokenSigner::from_seed(const std::array<uint8_t, kTokenKeySize>& seed) {
  TokenSigner signer;
  signer.seed_ = seed;
  size_t size = signer.public_key_.size();
  const Owned<EVP_PKEY> key = private_key(seed);
  VARVE_CHECK(EVP_PKEY_get_raw_public_key(key.get(), signer.public_key_.data(), &size) == 1);
  return signer;
}

TokenSigner TokenSigner::generate(Random& random) {
  std::array<uint8_t, kTokenKeySize> seed;
  const std::array<uint8_t, 16> first = random.unique_bytes("token key");
  const std::array<uint8_t, 16> second = random.unique_bytes("token key");
  std::copy(first.begin(), first.end(), seed.begin());
  std::copy(second.begin(), second.end(), seed.begin() + 16);
  return from_seed(seed);
}

Result<TokenSigner> TokenSigner::from_pem(std::string_view pem) {
  const Owned<BIO> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(std::min<size_t>(pem.size(), 65536))));
  // An empty passphrase, or OpenSSL would ask for one on the terminal.
  char passphrase[] = "";
  const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, passphrase));
  std::array<uint8_t, kTokenKeySize> seed;
  size_t size = seed.size();
  if (key == nullptr || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519 ||
      EVP_PKEY_get_raw_private_key(key.get(), seed.data(), &size) != 1 || size != seed.size()) {
    return Status(Code::kInvalid, "the text holds no Ed25519 private key in PEM");
  }
  return from_seed(seed);
}

std::string TokenSigner::to_pem() const {
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  const Owned<EVP_PKEY> key = private_key(seed_);
  VARVE_CHECK(PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                            nullptr) == 1);
  return contents(bio.get());
}

std::string TokenSigner::sign(const TokenClaims& claims) const {
  VARVE_CHECK_MSG(consistent(claims), "claims that don't belong to their scope");
  std::vector<uint8_t> bytes = encode_claims(claims, public_key_);
  const std::vector<uint8_t> message = signed_bytes(bytes);
  std::array<uint8_t, kSignatureSize> signature;
  size_t size = signature.size();
  const Owned<EVP_PKEY> key = private_key(seed_);
  const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
  VARVE_CHECK(context != nullptr);
  VARVE_CHECK(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1);
  VARVE_CHECK(
      EVP_DigestSign(context.get(), signature.data(), &size, message.data(), message.size()) == 1);
  bytes.insert(bytes.end(), signature.begin(), signature.end());
  return std::string(kPrefix) + to_base64url(bytes);
}

// --- TokenVerifier ---

Result<TokenVerifier> TokenVerifier::from_pem(std::string_view pem) {
  const Owned<BIO> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(std::min<size_t>(pem.size(), 65536))));
  std::vector<TokenPublicKey> keys;
  while (true) {
    const Owned<EVP_PKEY> key(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr));
    if (key == nullptr) break;
    TokenPublicKey raw;
    size_t size = raw.size();
    if (EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519 ||
        EVP_PKEY_get_raw_public_key(key.get(), raw.data(), &size) != 1 || size != raw.size()) {
      return Status(Code::kInvalid, "a public key in the text is not of type Ed25519");
    }
    keys.push_back(raw);
  }
  if (keys.empty()) return Status(Code::kInvalid, "the text holds no public key in PEM");
  return TokenVerifier(std::move(keys));
}

std::string TokenVerifier::to_pem(const TokenPublicKey& key) {
  const Owned<EVP_PKEY> raw(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size()));
  VARVE_CHECK(raw != nullptr);
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  VARVE_CHECK(PEM_write_bio_PUBKEY(bio.get(), raw.get()) == 1);
  return contents(bio.get());
}

Result<TokenClaims> TokenVerifier::verify(std::string_view text, WallTime now) const {
  if (text.empty()) return refused("there is no token");
  const std::optional<ParsedToken> token = parse(text);
  if (!token) return refused("this is no token (one begins with " + std::string(kPrefix) + ")");
  bool known = false;
  for (const TokenPublicKey& key : keys_) {
    if (fingerprint(key) != token->fingerprint) continue;
    known = true;
    if (!signature_matches(*token, key)) continue;
    if (expired(token->claims, now)) return expired_status(token->claims);
    return token->claims;
  }
  return known ? refused("the token's signature doesn't match its content")
               : refused("the token was signed with a key that is not trusted here");
}

Result<TokenClaims> TokenVerifier::verify_for(std::string_view token, TokenScope scope,
                                              const TenantId& tenant, const TimelineId& timeline,
                                              WallTime now) const {
  VARVE_TRY_ASSIGN(TokenClaims claims, verify(token, now));
  VARVE_TRY(authorize(claims, scope, tenant, timeline, now));
  return claims;
}

}  // namespace varve
