<?php
// For [health.web] of lamplighter.toml: proves that the web server runs PHP, and asks no server. A page that asked MySQL would
// take every instance out of the pool at once when MySQL is away.
header('Content-Type: text/plain');
header('Cache-Control: no-store');
echo 'ok';
