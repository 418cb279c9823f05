<?php
// Prints the SQL that makes the shop's tables and fills them. Runs on the primary; the replicas get it by replication.
declare(strict_types=1);

echo <<<'SQL'
CREATE TABLE products (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(80) NOT NULL,
    blurb VARCHAR(200) NOT NULL,
    price_cents INT UNSIGNED NOT NULL,
    picture VARCHAR(80) NOT NULL,
    stock INT UNSIGNED NOT NULL
);
CREATE TABLE orders (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id INT UNSIGNED NOT NULL,
    customer VARCHAR(60) NOT NULL,
    quantity TINYINT UNSIGNED NOT NULL,
    total_cents INT UNSIGNED NOT NULL,
    placed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    KEY (product_id, id),
    FOREIGN KEY (product_id) REFERENCES products (id)
);

SQL;
$rows = [];
foreach (require __DIR__ . '/products.php' as $of) {
    $rows[] = sprintf("('%s', '%s', %d, '%s', 1000)", addslashes($of['name']), addslashes($of['blurb']), $of['price_cents'], $of['picture']);
}
echo "INSERT INTO products (name, blurb, price_cents, picture, stock) VALUES\n    " . implode(",\n    ", $rows) . ";\n";
