<?php
// A page as an application has them: connects, asks several times with work in between, in and out of a transaction, and always
// prints the same. Anything that goes wrong is a 500.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
header('Content-Type: text/plain');
try {
    $db = mysqli_connect('localhost', 'shop', '', 'shop');
    $names = [];
    foreach ([1, 2, 3] as $id) {
        usleep(3000);
        $names[] = $db->query("SELECT name FROM lamp WHERE id = $id")->fetch_row()[0];
    }
    $db->begin_transaction();
    usleep(3000);
    $count = $db->query('SELECT COUNT(*) FROM lamp FOR SHARE')->fetch_row()[0];
    $db->commit();
    $db->close();
    echo implode(' ', $names), ' ', $count, "\n";
} catch (Throwable $error) {
    http_response_code(500);
    error_log('lamp.php: ' . $error->getMessage());
    file_put_contents('/tmp/lamp-errors', $error->getMessage() . "\n", FILE_APPEND);
    echo $error->getMessage(), "\n";
}
