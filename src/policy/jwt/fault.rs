//! What is wrong with a token: a word for counters, a text for operators, and the key that would
//! change it.

use thiserror::Error;

/// A reason why a token is not accepted. Operators are told; a client learns only that it sent one
/// or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenFault {
    /// No token came.
    #[error("there is no token")]
    Missing,
    /// Several tokens came.
    #[error("there is more than one token")]
    Several,
    /// The token is longer than anybody needs.
    #[error("the token is longer than allowed")]
    TooLong,
    /// The text is no token.
    #[error("the token is malformed")]
    Malformed,
    /// The token's algorithm is not accepted.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// No key of the set is of its kind and has its id.
    #[error("no key of the set fits the token")]
    UnknownKey,
    /// The token's signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// The token is for another audience.
    #[error("the token is for another audience")]
    Audience,
    /// The token lacks a claim that it must have.
    #[error("the token lacks a claim that it must have")]
    Claim,
    /// The token demands that something is understood which is not (RFC 7515 §4.1.11).
    #[error("the token demands that an extension is understood")]
    Critical,
    /// A claim that is forwarded cannot be a header's value.
    #[error("a claim of the token cannot be forwarded in a header")]
    Unsendable,
    /// No keys have come yet to verify it with.
    #[error("there are no keys yet to verify tokens with")]
    NoKeys,
}

impl TokenFault {
    /// A word for counters.
    #[must_use]
    pub fn reason_word(self) -> &'static str {
        match self {
            TokenFault::Missing => "missing",
            TokenFault::Several => "several",
            TokenFault::TooLong => "too_long",
            TokenFault::Malformed => "malformed",
            TokenFault::Algorithm => "algorithm",
            TokenFault::UnknownKey => "unknown_key",
            TokenFault::Signature => "signature",
            TokenFault::Expired => "expired",
            TokenFault::NotYetValid => "not_yet_valid",
            TokenFault::Issuer => "issuer",
            TokenFault::Audience => "audience",
            TokenFault::Claim => "claim",
            TokenFault::Critical => "critical",
            TokenFault::Unsendable => "unsendable",
            TokenFault::NoKeys => "no_keys",
        }
    }

    /// Returns whether the issuer may have signed it with a key that is not known yet.
    #[must_use]
    pub fn may_be_new_key(self) -> bool {
        matches!(self, TokenFault::UnknownKey | TokenFault::Signature)
    }

    /// The configuration key that would change it.
    #[must_use]
    pub fn config_key(self) -> &'static str {
        match self {
            TokenFault::TooLong => "auth.jwt.max_token",
            TokenFault::Algorithm => "auth.jwt.algorithms",
            TokenFault::UnknownKey | TokenFault::Signature | TokenFault::NoKeys => "auth.jwt.jwks",
            TokenFault::Issuer => "auth.jwt.issuer",
            TokenFault::Audience => "auth.jwt.audience",
            TokenFault::Unsendable => "auth.jwt.forward",
            TokenFault::Missing | TokenFault::Several => "auth.jwt.from",
            TokenFault::Critical
            | TokenFault::Malformed
            | TokenFault::Expired
            | TokenFault::NotYetValid
            | TokenFault::Claim => "auth.jwt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_reason_and_the_key_that_would_change_it() {
        for (fault, reason, key, new_key) in [
            (TokenFault::Missing, "missing", "auth.jwt.from", false),
            (TokenFault::Several, "several", "auth.jwt.from", false),
            (TokenFault::TooLong, "too_long", "auth.jwt.max_token", false),
            (TokenFault::Malformed, "malformed", "auth.jwt", false),
            (TokenFault::Algorithm, "algorithm", "auth.jwt.algorithms", false),
            (TokenFault::UnknownKey, "unknown_key", "auth.jwt.jwks", true),
            (TokenFault::Signature, "signature", "auth.jwt.jwks", true),
            (TokenFault::Expired, "expired", "auth.jwt", false),
            (TokenFault::NotYetValid, "not_yet_valid", "auth.jwt", false),
            (TokenFault::Issuer, "issuer", "auth.jwt.issuer", false),
            (TokenFault::Audience, "audience", "auth.jwt.audience", false),
            (TokenFault::Claim, "claim", "auth.jwt", false),
            (TokenFault::Critical, "critical", "auth.jwt", false),
            (TokenFault::Unsendable, "unsendable", "auth.jwt.forward", false),
            (TokenFault::NoKeys, "no_keys", "auth.jwt.jwks", false),
        ] {
            assert_eq!(
                (fault.reason_word(), fault.config_key(), fault.may_be_new_key()),
                (reason, key, new_key)
            );
        }
    }
}
