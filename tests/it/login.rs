//! Who gets into the endpoint, and how the endpoint gets into the servers.

use std::process::Command;

use crate::endpoint::{Options, PATIENCE, start};
use crate::support::mysql::{APP, Cluster};
use crate::support::{pki, poll, programs};

#[test]
fn the_kernel_vouches_or_a_password_does() {
    let cluster = Cluster::builder().build();
    let endpoint = start(&cluster, Options::default());
    assert_eq!(
        endpoint
            .code("echo one(endpoint(), 'SELECT 1');")
            .run()
            .expect_ok(),
        "1"
    );
    let needless = endpoint
        .code("echo one(endpoint(), 'SELECT 2');")
        .env(&[("PASSWORD", "not needed")]);
    assert_eq!(
        needless.run().expect_ok(),
        "2",
        "a password nobody asked for"
    );
    let other = endpoint
        .code("echo error_of(fn () => endpoint());")
        .user("daemon")
        .run();
    assert_eq!(other.expect_ok(), "1045", "a local user who is not named");
    let www = endpoint
        .code("echo one(endpoint(), 'SELECT 1');")
        .user("www-data")
        .run();
    assert_eq!(www.expect_ok(), "1", "php-fpm's user");
    let over_tcp = format!(
        r#"$login = fn ($user, $password) => error_of(fn () => new mysqli('127.0.0.1', $user, $password, 'app', {}));
        same(0, $login('job', 'job-secret'), 'the right password');
        same(1045, $login('job', 'wrong'), 'a wrong password');
        same(1045, $login('job', ''), 'no password');
        same(1045, $login('web', ''), 'the kernel vouches on unix sockets only');
        same(1045, $login('nobody', 'job-secret'), 'an unknown name');
        same(1045, $login('lamplighter', ''), 'our own name');
        $link = new mysqli('127.0.0.1', 'job', 'job-secret', 'app', {});
        same(false, @$link->change_user('job', 'wrong', 'app'), 'change_user checks again');"#,
        endpoint.tcp_port, endpoint.tcp_port
    );
    let code = format!(
        "mysqli_report(MYSQLI_REPORT_STRICT | MYSQLI_REPORT_ERROR); try {{ {over_tcp} }} catch (mysqli_sql_exception $e) {{ same(1045, $e->getCode(), 'change_user'); }} echo 'ok';"
    );
    assert_eq!(endpoint.code(&code).run().expect_ok(), "ok");
    assert!(!endpoint.agent.log().contains("job-secret") && !endpoint.agent.log().contains(APP.1));
}

#[test]
fn old_and_new_password_plugins_are_understood() {
    let cluster = Cluster::builder().build();
    let endpoint = start(&cluster, Options::default());
    for plugin in ["caching_sha2_password", "mysql_native_password"] {
        let port = endpoint.tcp_port.to_string();
        let output = Command::new(programs::find_cached("mysql9/bin/mysql", "mysql"))
            .args([
                "--no-defaults",
                "--protocol=tcp",
                "-h127.0.0.1",
                "-P",
                &port,
                "-ujob",
                "-pjob-secret",
            ])
            .args([
                "--ssl-mode=DISABLED",
                &format!("--default-auth={plugin}"),
                "-BNe",
                "SELECT 'in'",
            ])
            .output()
            .expect("the mysql client runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "in",
            "{plugin}: {told}"
        );
    }
}

#[test]
fn a_wrong_password_or_ca_is_told_and_everything_recovers() {
    let cluster = Cluster::builder().build();
    let wrong = start(
        &cluster,
        Options {
            password: Some("not it".into()),
            ..Options::default()
        },
    );
    let text = wrong.code("try { one(endpoint(), 'SELECT 1'); } catch (mysqli_sql_exception $e) { echo $e->getCode(), $e->getMessage(); }");
    let told = text.run().expect_ok();
    assert!(
        told.contains("1045") && told.contains("Access denied"),
        "{told}"
    );
    std::fs::write(wrong.agent.dir().join("app-password"), APP.1).expect("the right password");
    poll::until(PATIENCE, "the new password is used", || {
        let answer = wrong
            .code("echo error_of(fn () => one(endpoint(), 'SELECT 1'));")
            .run()
            .expect_ok();
        if answer == "0" { Ok(()) } else { Err(answer) }
    });

    let stranger = pki::Authority::new(&wrong.agent.dir().join("stranger"));
    let strange = start(
        &cluster,
        Options {
            ca: Some(stranger.ca()),
            ..Options::default()
        },
    );
    let told = strange
        .code("try { one(endpoint(), 'SELECT 1'); } catch (mysqli_sql_exception $e) { echo $e->getCode(), $e->getMessage(); }")
        .run()
        .expect_ok();
    assert!(
        told.starts_with("2003") && told.contains("TLS handshake"),
        "{told}"
    );
}

#[test]
fn an_expired_server_certificate_is_refused() {
    let cluster = Cluster::builder().build();
    cluster.stop(0);
    let expired = cluster.authority().issue_expired("expired");
    cluster.use_certificate(0, &expired);
    cluster.start(0);
    let endpoint = start(&cluster, Options::default());
    let told = endpoint
        .code("try { one(endpoint(), 'SELECT 1'); } catch (mysqli_sql_exception $e) { echo $e->getCode(), $e->getMessage(); }")
        .run()
        .expect_ok();
    assert!(told.starts_with("2003"), "{told}");
}
