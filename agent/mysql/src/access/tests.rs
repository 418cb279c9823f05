//! Who gets in.

use std::os::unix::fs::PermissionsExt;

use super::*;

const NONCE: [u8; 20] = [7; 20];

fn access() -> (tempfile::TempDir, Access) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pw");
    std::fs::write(&path, "s3cret").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let clients = BTreeMap::from([
        (
            "web".to_owned(),
            Client {
                peer_users: vec!["4242".to_owned()],
                password_file: None,
                ..Client::default()
            },
        ),
        (
            "job".to_owned(),
            Client {
                peer_users: vec![],
                password_file: Some(lamplighter_core::config::SecretFile::new(path)),
                ..Client::default()
            },
        ),
    ]);
    let access = Access::new(&clients, &SecretDirs::default()).unwrap();
    (dir, access)
}

fn unix(uid: u32) -> Peer {
    Peer::Unix {
        uid,
        gid: uid,
        pid: None,
    }
}

const TCP: Peer = Peer::Tcp(std::net::SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    1,
));

#[test]
fn the_kernels_word_is_enough_and_only_for_that_user() {
    let (_dir, access) = access();
    let judge = |user: &str, peer| access.judge(user.as_bytes(), peer, None, &NONCE, b"");
    assert_eq!(judge("web", unix(4242)), Verdict::Welcome);
    assert_eq!(judge("web", unix(4243)), Verdict::Denied);
    assert_eq!(judge("web", TCP), Verdict::Denied);
    assert_eq!(judge("job", unix(4242)), Verdict::Denied);
    assert_eq!(judge("nobody", unix(0)), Verdict::Denied);
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(judge(INTERNAL_USER, unix(own)), Verdict::Welcome);
    assert_eq!(judge(INTERNAL_USER, unix(own + 1)), Verdict::Denied);
    assert_eq!(judge(INTERNAL_USER, TCP), Verdict::Denied);
}

#[test]
fn passwords_count_in_both_plugins() {
    let (_dir, access) = access();
    for plugin in [AuthPlugin::CachingSha2Password, AuthPlugin::NativePassword] {
        let right = auth::scramble(&plugin, b"s3cret", &NONCE);
        let wrong = auth::scramble(&plugin, b"secret", &NONCE);
        let judge = |answer: &[u8]| access.judge(b"job", TCP, Some(&plugin), &NONCE, answer);
        assert_eq!(judge(&right), Verdict::Welcome);
        assert_eq!(judge(&wrong), Verdict::Denied);
        assert_eq!(judge(b""), Verdict::Denied);
        assert_eq!(
            access.judge(b"web", TCP, Some(&plugin), &NONCE, b""),
            Verdict::Denied,
            "no password is no way in"
        );
    }
    let other = AuthPlugin::from_name(b"sha256_password");
    assert_eq!(
        access.judge(b"job", TCP, Some(&other), &NONCE, b"x"),
        Verdict::AskAgain
    );
}

#[test]
fn a_user_who_does_not_exist_is_named() {
    let clients = BTreeMap::from([(
        "web".to_owned(),
        Client {
            peer_users: vec!["no-such-user-here".to_owned()],
            password_file: None,
            ..Client::default()
        },
    )]);
    let error = Access::new(&clients, &SecretDirs::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("no-such-user-here"), "{error}");
}
