//! Who holds an address that is taken, for the error message. Reads `/proc`; finds only what this user may see.

use std::os::unix::net::UnixStream;
use std::path::Path;

/// The process that listens on the TCP port: `"mysqld (pid 812)"`.
pub(super) fn of_tcp_port(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_inode(table, port))?;
    let needle = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut fds = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
        fds.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == Path::new(&needle)))
            .then(|| describe(pid))
    })
}

/// The process at the other end of a unix connection.
pub(super) fn of_unix_peer(stream: &UnixStream) -> Option<String> {
    let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
    u32::try_from(credentials.pid.as_raw_nonzero().get())
        .ok()
        .map(describe)
}

/// proc_net_tcp: column 2 is `address:port` in hex, column 4 the state (0A = LISTEN), column 10 the inode.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    let text = std::fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let local = columns.get(1)?.rsplit(':').next()?;
        let listens = columns.get(3) == Some(&"0A");
        (listens && u16::from_str_radix(local, 16) == Ok(port))
            .then(|| columns.get(9)?.parse().ok())
            .flatten()
    })
}

fn describe(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (pid {pid})", name.trim()),
        Err(_) => format!("pid {pid}"),
    }
}
