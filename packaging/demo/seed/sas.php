<?php
// sas.php ACCOUNT PERMISSIONS <KEY: prints an account SAS (shared access signature) for the blob service, good for one day.
// Permissions are Azure's letters: r read, w write, d delete, l list, a add, c create.
declare(strict_types=1);

[, $account, $permissions] = $argv;
$key = base64_decode(trim((string) stream_get_contents(STDIN)), true);
if ($key === false || $key === '') {
    fwrite(STDERR, "sas.php: the key on standard input is not base64\n");
    exit(1);
}
$fields = [
    'sv' => '2021-12-02',
    'ss' => 'b',
    'srt' => 'sco',
    'sp' => $permissions,
    'st' => gmdate('Y-m-d\TH:i:s\Z', time() - 300),
    'se' => gmdate('Y-m-d\TH:i:s\Z', time() + 86400),
    'spr' => 'https,http',
];
// https://learn.microsoft.com/rest/api/storageservices/create-account-sas: the fields in this order, an empty one for the addresses,
// one for the encryption scope, each with its newline
$text = implode("\n", [
    $account, $fields['sp'], $fields['ss'], $fields['srt'], $fields['st'], $fields['se'], '', $fields['spr'], $fields['sv'], '', '',
]);
$fields['sig'] = base64_encode(hash_hmac('sha256', $text, $key, true));
echo http_build_query($fields, '', '&', PHP_QUERY_RFC3986);
