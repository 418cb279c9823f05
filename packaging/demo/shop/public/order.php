<?php
// Places an order in one transaction: lock the product's row, take it off the stock, write the order.
declare(strict_types=1);

namespace Shop;

require __DIR__ . '/../lib/shop.php';

$id = (int) ($_POST['product'] ?? 0);
$quantity = (int) ($_POST['quantity'] ?? 0);
$customer = trim((string) ($_POST['customer'] ?? ''));
if ($_SERVER['REQUEST_METHOD'] !== 'POST' || $quantity < 1 || $quantity > 9 || $customer === '' || strlen($customer) > 60) {
    Page::show('Order', '<p class="note">An order needs a lamp, a name and a number from 1 to 9.</p>', 400);
    return;
}

$pdo = Database::emulatedPdo();
$pdo->beginTransaction();
Trace::count('locked');
$find = $pdo->prepare('SELECT name, price_cents, stock FROM products WHERE id = ? FOR UPDATE');
$find->execute([$id]);
$product = $find->fetch();
if ($product === false || (int) $product['stock'] < $quantity) {
    $pdo->rollBack();
    Page::show('Order', '<p class="note">That many are not there any more.</p>', 409);
    return;
}
$total = $quantity * (int) $product['price_cents'];
Trace::count('writes', 2);
$pdo->prepare('UPDATE products SET stock = stock - ? WHERE id = ?')->execute([$quantity, $id]);
$pdo->prepare('INSERT INTO orders (product_id, customer, quantity, total_cents) VALUES (?, ?, ?, ?)')->execute([$id, $customer, $quantity, $total]);
$order = (int) $pdo->lastInsertId();
$pdo->commit();

$name = Page::text($product['name']);
$sum = Page::money($total);
Page::show('Thank you', <<<HTML
    <section class="note">
    <h1>Thank you</h1>
    <p>Order number <strong>{$order}</strong>: {$quantity} × {$name}, {$sum}. It is on its way.</p>
    <p><a href="/">Back to the lamps</a></p>
    </section>
    HTML);
