<?php
// One product: its row from Redis (mysqli if it is not there), stock and latest orders by prepared statements on the server.
declare(strict_types=1);

namespace Shop;

require __DIR__ . '/../lib/shop.php';

$id = (int) ($_GET['id'] ?? 0);
$product = Catalogue::rows(Database::mysqli(), [$id])[$id] ?? null;
if ($product === null) {
    Page::show('Not here', '<p class="note">There is no such lamp.</p>', 404);
    return;
}

$pdo = Database::nativePdo();
Trace::count('reads', 2);
$stock = $pdo->prepare('SELECT stock FROM products WHERE id = ?');
$stock->execute([$id]);
$left = (int) $stock->fetchColumn();
$orders = $pdo->prepare('SELECT customer, quantity, placed_at FROM orders WHERE product_id = ? ORDER BY id DESC LIMIT ?');
$orders->execute([$id, 5]);

$lines = '';
foreach ($orders as $order) {
    $lines .= '<li>' . Page::text($order['customer']) . ' took ' . (int) $order['quantity'] . ' <time>' . Page::text($order['placed_at']) . '</time></li>';
}
$picture = Page::picture($product['picture'], (string) $product['name']);
$name = Page::text($product['name']);
$blurb = Page::text($product['blurb']);
$price = Page::money($product['price_cents']);
$list = $lines === '' ? '' : "<h2>Latest orders</h2><ul class=\"orders\">$lines</ul>";
Page::show((string) $product['name'], <<<HTML
    <article class="product">
    <div class="frame">{$picture}</div>
    <div>
    <h1>{$name}</h1>
    <p>{$blurb}</p>
    <p class="price">{$price} <span>{$left} in stock</span></p>
    <form method="post" action="/order.php">
    <input type="hidden" name="product" value="{$id}">
    <label>Your name <input name="customer" value="Guest" maxlength="60" required></label>
    <label>How many <input name="quantity" type="number" value="1" min="1" max="9" required></label>
    <button>Order</button>
    </form>
    {$list}
    </div>
    </article>
    HTML);
