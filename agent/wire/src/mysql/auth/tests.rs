//! Tests of `auth`. The expected answers were computed apart from this code, with Python's hashlib.

use proptest::prelude::*;

use super::*;

const NONCE: &[u8; NONCE_LEN] = b"lamplighter-nonce-20";
const PASSWORD: &[u8] = b"correct horse";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn known_answers() {
    let native = "5636df1ff338705d637d505a1954e4d51142420f";
    let sha2 = "24b83fd18b14b230191d4758314a27be83348238ee82c6f501b7f0ca2cd16fcb";
    assert_eq!(
        hex(&scramble(&AuthPlugin::NativePassword, PASSWORD, NONCE)),
        native
    );
    assert_eq!(
        hex(&scramble(&AuthPlugin::CachingSha2Password, PASSWORD, NONCE)),
        sha2
    );
    assert_eq!(
        scramble(&AuthPlugin::ClearPassword, PASSWORD, NONCE),
        b"correct horse\0"
    );
}

#[test]
fn the_zero_byte_behind_the_nonce_does_not_count() {
    let with_zero = [&NONCE[..], &[0]].concat();
    for plugin in [AuthPlugin::NativePassword, AuthPlugin::CachingSha2Password] {
        assert_eq!(
            scramble(&plugin, PASSWORD, &with_zero),
            scramble(&plugin, PASSWORD, NONCE)
        );
    }
}

#[test]
fn empty_passwords() {
    for plugin in [AuthPlugin::NativePassword, AuthPlugin::CachingSha2Password] {
        assert!(scramble(&plugin, b"", NONCE).is_empty());
        assert!(verify(&plugin, b"", NONCE, b""));
        assert!(verify(&plugin, b"", NONCE, &[0]));
        assert!(!verify(&plugin, b"", NONCE, &[0, 0]));
        assert!(!verify(
            &plugin,
            b"",
            NONCE,
            &scramble(&plugin, b"x", NONCE)
        ));
        assert!(!verify(&plugin, PASSWORD, NONCE, b""));
        assert!(!verify(&plugin, PASSWORD, NONCE, &[0]));
    }
    assert_eq!(scramble(&AuthPlugin::ClearPassword, b"", NONCE), [0]);
    assert!(verify(&AuthPlugin::ClearPassword, b"", NONCE, &[0]));
    assert!(!verify(&AuthPlugin::ClearPassword, PASSWORD, NONCE, &[0]));
}

#[test]
fn clear_passwords_with_and_without_their_zero_byte() {
    let plugin = AuthPlugin::ClearPassword;
    assert!(verify(&plugin, PASSWORD, NONCE, b"correct horse\0"));
    assert!(verify(&plugin, PASSWORD, NONCE, b"correct horse"));
    assert!(!verify(&plugin, PASSWORD, NONCE, b"correct horse\0\0"));
    assert!(!verify(&plugin, PASSWORD, NONCE, b"correct hors"));
}

#[test]
fn an_unknown_plugin_proves_nothing() {
    let plugin = AuthPlugin::from_name(b"sha256_password");
    assert_eq!(
        plugin,
        AuthPlugin::Other(Bytes::from_static(b"sha256_password"))
    );
    assert!(scramble(&plugin, PASSWORD, NONCE).is_empty());
    assert!(!verify(&plugin, PASSWORD, NONCE, b""));
    assert!(!verify(&plugin, b"", NONCE, b""));
}

#[test]
fn names_go_both_ways() {
    for name in [
        "mysql_native_password",
        "caching_sha2_password",
        "mysql_clear_password",
        "other",
    ] {
        let plugin = AuthPlugin::from_name(name.as_bytes());
        assert_eq!(
            (plugin.name(), plugin.to_string()),
            (name.as_bytes(), name.to_owned())
        );
    }
}

proptest! {
    #[test]
    fn only_the_right_answer_is_accepted(
        password in prop::collection::vec(1_u8.., 1..40),
        other in prop::collection::vec(1_u8.., 0..40),
        nonce in any::<[u8; NONCE_LEN]>(),
        flip in any::<prop::sample::Index>(),
    ) {
        for plugin in [AuthPlugin::NativePassword, AuthPlugin::CachingSha2Password, AuthPlugin::ClearPassword] {
            let mut answer = scramble(&plugin, &password, &nonce);
            prop_assert!(verify(&plugin, &password, &nonce, &answer));
            prop_assert_eq!(verify(&plugin, &other, &nonce, &answer), password == other);
            if plugin != AuthPlugin::ClearPassword {
                let at = flip.index(answer.len());
                answer[at] ^= 1;
                prop_assert!(!verify(&plugin, &password, &nonce, &answer));
            }
        }
    }
}
