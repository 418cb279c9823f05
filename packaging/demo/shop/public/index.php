<?php
// The list of products: rows from Redis, stock from MySQL.
declare(strict_types=1);

namespace Shop;

require __DIR__ . '/../lib/shop.php';

$db = Database::mysqli();
$products = Catalogue::all($db);

$sold = '';
foreach (Catalogue::bestsellers($db) as $line) {
    $product = $products[(int) $line['product_id']] ?? null;
    if ($product !== null) {
        $sold .= '<li><a href="/product.php?id=' . (int) $product['id'] . '">' . Page::text($product['name']) . '</a> ' . (int) $line['sold'] . ' sold</li>';
    }
}

$cards = '';
foreach ($products as $id => $product) {
    $cards .= '<a class="card" href="/product.php?id=' . $id . '">' . Page::picture($product['picture'], (string) $product['name'])
        . '<h2>' . Page::text($product['name']) . '</h2><p class="line"><strong>' . Page::money($product['price_cents']) . '</strong>'
        . '<span>' . ($product['stock'] > 0 ? (int) $product['stock'] . ' in stock' : 'sold out') . '</span></p></a>';
}

$bestsellers = $sold === '' ? '' : "<section class=\"best\"><h2>Most wanted</h2><ol>$sold</ol></section>";
Page::show('All lamps', "$bestsellers<section class=\"grid\">$cards</section>");
