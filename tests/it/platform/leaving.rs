//! One door for whoever wants the instance away: what the web server is told, the hook, and progress for people.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{SOON, leaving, wait_step};
use crate::probe::Probed;
use crate::support::agent::Agent;
use crate::support::poll;
use crate::support::web::Apache;

/// Asks on an open connection, and says whether the web server will close it.
fn ask_on(connection: &mut TcpStream) -> Option<bool> {
    let request = b"GET /healthz.php HTTP/1.1\r\nHost: x\r\n\r\n";
    connection.write_all(request).ok()?;
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("up") {
        let length = connection.read(&mut buffer).ok().filter(|it| *it > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    Some(text.to_ascii_lowercase().contains("connection: close"))
}

#[test]
fn connections_that_are_kept_alive_are_closed_by_apache_while_the_instance_leaves() {
    let home = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let file = home.dir().join("run/shedding");
    // the web server's user must be able to look for it
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::create_dir_all(home.dir().join("run")).expect("a folder");
    std::fs::set_permissions(home.dir(), open).expect("the folder's mode");
    let ours = crate::tidy::read("packaging/web/apache.conf");
    let line = ours.lines().find(|line| line.contains("nokeepalive"));
    let line = line.expect("the line that closes them");
    let ours = line.replace("/run/lamplighter/shedding", &file.display().to_string());
    let web = Apache::builder()
        .file("healthz.php", "<?php echo 'up';")
        .config(&ours)
        .start();
    let config = format!(
        "[health.web]\nurl = \"{}\"\n[shutdown]\n\
         on_leave = [\"/bin/sh\", \"-c\", \"echo $LAMPLIGHTER_SOURCE > {{dir}}/left\"]\n\
         on_return = [\"/bin/sh\", \"-c\", \"echo back > {{dir}}/left\"]\n",
        web.url("/healthz.php")
    );
    let mut probed = Probed::start(home, &config);
    probed.agent.wait_ready(SOON);
    probed.wait(200);
    let address = web.url("/").replace("http://", "").replace('/', "");
    let mut kept = TcpStream::connect(&address).expect("a connection");
    kept.set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    assert_eq!(ask_on(&mut kept), Some(false));
    assert_eq!(ask_on(&mut kept), Some(false), "kept alive");

    probed.command("drain");
    poll::until(SOON, "the file", || file.exists());
    assert_eq!(ask_on(&mut kept), Some(true), "answered, then closed");
    assert_eq!(ask_on(&mut kept), None);
    let left = probed.agent.dir().join("left");
    let says = |word: &str| std::fs::read_to_string(&left).is_ok_and(|text| text.trim() == word);
    poll::until(SOON, "the hook", || says("command"));
    wait_step(&probed, "left");
    let (status, out, _) = probed.agent.command(&[
        "status",
        "--config",
        probed.agent.config_path().to_str().expect("UTF-8"),
    ]);
    assert!(
        status.success() && out.contains("leaving          left, asked for by command"),
        "{out}"
    );

    probed.command("undrain");
    probed.wait(200);
    poll::until(SOON, "the hook", || says("back"));
    assert!(!file.exists() && leaving(&probed).is_none());
    let mut again = TcpStream::connect(&address).expect("a connection");
    assert_eq!(ask_on(&mut again), Some(false));
}
