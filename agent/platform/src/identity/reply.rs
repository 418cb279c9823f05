//! What an identity provider's answer says. Pure; keeps nothing of what it refuses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lamplighter_core::secret::Secret;
use serde_json::Value;
use zeroize::Zeroize;

/// The longest token that is taken, in bytes; Entra's are 1 to 4 KiB, and MySQL and HTTP headers bear no more than this.
const TOKEN_MAX: usize = 16 * 1024;

/// The longest life that is believed; Entra gives a day at most.
const LIFETIME_MAX: Duration = Duration::from_secs(48 * 3600);

/// A token and how long it is valid from now on.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) secret: Secret,
    pub(crate) lifetime: Duration,
    pub(crate) object_id: Option<String>,
}

/// Reads an answer of the instance metadata service or of Entra. The first writes numbers as strings, the second as numbers; both
/// forms are taken. `expires_in` counts, because this machine's clock may be wrong; only where it is missing `expires_on` does.
pub(crate) fn read(body: &[u8], wall: SystemTime) -> Result<Reply, String> {
    let mut value: Value = serde_json::from_slice(body).map_err(|_| "it is not JSON".to_owned())?;
    let reply = take(&mut value, wall);
    wipe(&mut value);
    reply
}

fn take(value: &mut Value, wall: SystemTime) -> Result<Reply, String> {
    let lifetime = match (seconds(value, "expires_in"), seconds(value, "expires_on")) {
        (Some(within), _) => within,
        (None, Some(at)) => {
            let now = wall
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            at - i64::try_from(now).unwrap_or(i64::MAX)
        }
        (None, None) => return Err("it does not say when the token expires".to_owned()),
    };
    let lifetime = u64::try_from(lifetime)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or("the token has expired already")?
        .min(LIFETIME_MAX);
    let Some(Value::String(token)) = value.get_mut("access_token") else {
        return Err("it holds no token".to_owned());
    };
    // it will stand in a header and in a packet: nothing but what tokens consist of
    if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(|it| it.is_ascii_graphic())
    {
        return Err("what it calls a token cannot be one".to_owned());
    }
    let object_id = object_id(token);
    Ok(Reply {
        secret: Secret::new(std::mem::take(token).into_bytes()),
        lifetime,
        object_id,
    })
}

fn seconds(value: &Value, key: &str) -> Option<i64> {
    match value.get(key)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The claim `oid` of a JSON web token (RFC 7519). The signature is the server's business.
fn object_id(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&bytes).ok()?;
    let id = claims.get("oid")?.as_str()?;
    let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-';
    (!id.is_empty() && id.len() <= 64 && id.bytes().all(plain)).then(|| id.to_owned())
}

/// Wipes every string of a refused or used answer.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn lifetime(body: &str) -> Result<u64, String> {
        read(body.as_bytes(), at(1_000)).map(|reply| reply.lifetime.as_secs())
    }

    #[test]
    fn both_spellings_of_numbers() {
        let imds =
            r#"{"access_token":"t","expires_in":"3599","expires_on":"1506484173","resource":"x"}"#;
        assert_eq!(lifetime(imds), Ok(3599));
        assert_eq!(
            lifetime(r#"{"access_token":"t","expires_in":3599}"#),
            Ok(3599)
        );
        assert_eq!(
            lifetime(r#"{"access_token":"t","expires_on":"1600"}"#),
            Ok(600)
        );
        assert_eq!(
            lifetime(r#"{"access_token":"t","expires_in":99999999}"#),
            Ok(172_800)
        );
    }

    #[test]
    fn a_clock_that_jumped_does_not_end_a_token_that_is_good() {
        let body = r#"{"access_token":"t","expires_in":"3600","expires_on":"500"}"#;
        assert_eq!(lifetime(body), Ok(3600));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for body in [
            "",
            "[]",
            r#"{"access_token":"t"}"#,
            r#"{"access_token":"t","expires_in":"0"}"#,
            r#"{"access_token":"t","expires_in":"-5"}"#,
            r#"{"access_token":"t","expires_on":"999"}"#,
            r#"{"access_token":"t","expires_in":[3600]}"#,
            r#"{"access_token":"","expires_in":"3600"}"#,
            r#"{"access_token":"a b","expires_in":"3600"}"#,
            r#"{"access_token":"a\r\nx: y","expires_in":"3600"}"#,
            r#"{"access_token":{"a":1},"expires_in":"3600"}"#,
            r#"{"expires_in":"3600"}"#,
        ] {
            assert!(lifetime(body).is_err(), "{body}");
        }
        let huge = format!(
            r#"{{"access_token":"{}","expires_in":9}}"#,
            "x".repeat(TOKEN_MAX + 1)
        );
        assert!(lifetime(&huge).is_err());
    }

    #[test]
    fn the_object_id_is_read_from_the_claims() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"oid":"6f2c-11","aud":"https://redis.azure.com"}"#);
        assert_eq!(
            object_id(&format!("h.{claims}.s")).as_deref(),
            Some("6f2c-11")
        );
        for odd in ["", "x", "a.b.c", "a.!!.c"] {
            assert_eq!(object_id(odd), None);
        }
        let claims = URL_SAFE_NO_PAD.encode(r#"{"oid":"a\r\nb"}"#);
        assert_eq!(object_id(&format!("h.{claims}.s")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _outcome = read(&bytes, at(1_000));
        }

        #[test]
        fn a_damaged_answer_gives_the_token_or_none(at_byte in 0_usize..80, byte: u8) {
            let mut body = br#"{"access_token":"abcdefghij","expires_in":"3600","token_type":"Bearer","x":1}"#.to_vec();
            let len = body.len();
            body[at_byte % len] = byte;
            if let Ok(reply) = read(&body, at(1_000)) {
                prop_assert!(reply.lifetime > Duration::ZERO && reply.lifetime <= LIFETIME_MAX);
                prop_assert!(reply.secret.expose().iter().all(u8::is_ascii_graphic));
            }
        }
    }
}
