<?php
// notify.php SOCKET: stands in for systemd. Listens for notifications (sd_notify(3)) and prints the time of each READY=1, in
// microseconds since 1970, until standard input ends. Says "listening" first.
$socket = stream_socket_server("udg://$argv[1]", $code, $message, STREAM_SERVER_BIND) ?: throw new RuntimeException($message);
echo "listening\n";
while (true) {
    $ready = [$socket, STDIN];
    $none = null;
    stream_select($ready, $none, $none, null);
    $now = microtime(true);
    if (in_array($socket, $ready, true)) {
        $notification = stream_socket_recvfrom($socket, 65536);
        if (in_array('READY=1', explode("\n", $notification), true)) {
            printf("%.0f\n", $now * 1e6);
        }
    } elseif (fgets(STDIN) === false) {
        break;
    }
}
