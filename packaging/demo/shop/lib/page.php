<?php
declare(strict_types=1);

namespace Shop;

/** The frame around every page. Styles and pictures have the address they have in the storage container, below /media/. */
final class Page
{
    public static function show(string $title, string $body, int $status = 200): void
    {
        http_response_code($status);
        header('Content-Type: text/html; charset=utf-8');
        Trace::send();
        $milliseconds = number_format((microtime(true) - $_SERVER['REQUEST_TIME_FLOAT']) * 1000, 1);
        $did = sprintf(
            '%s ms · MySQL: %d connection%s, %d reads, %d writes · Redis: %d of %d rows from the cache',
            $milliseconds,
            Trace::get('connects'),
            Trace::get('connects') === 1 ? '' : 's',
            Trace::get('reads') + Trace::get('locked'),
            Trace::get('writes'),
            Trace::get('hits'),
            Trace::get('hits') + Trace::get('misses'),
        );
        $title = self::text($title);
        echo <<<HTML
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>{$title} · The Lamp Shop</title>
        <link rel="icon" href="/media/pictures/storm-lantern.svg" type="image/svg+xml">
        <link rel="stylesheet" href="/media/css/shop.css">
        </head>
        <body>
        <header><a class="brand" href="/">The Lamp Shop</a><span>Lanterns, lamps and bulbs since dusk</span></header>
        <main>
        {$body}
        </main>
        <footer>{$did}</footer>
        </body>
        </html>

        HTML;
    }

    public static function text(mixed $value): string
    {
        return htmlspecialchars((string) $value, ENT_QUOTES);
    }

    public static function money(mixed $cents): string
    {
        return '€ ' . number_format((int) $cents / 100, 2);
    }

    public static function picture(mixed $name, string $alt): string
    {
        return '<img src="/media/pictures/' . rawurlencode((string) $name) . '" alt="' . self::text($alt) . '" width="240" height="180">';
    }
}
