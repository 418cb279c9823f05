<?php
// pictures.php DIR: draws one SVG per product into DIR. They are what an editor would upload to the storage container.
declare(strict_types=1);

$dir = $argv[1] ?? exit("usage: pictures.php DIR\n");

/** The drawing of one shape on a 240 x 180 sheet, its glow behind it. */
function shape(string $shape, int $hue): string
{
    $dark = "hsl($hue 35% 28%)";
    $body = "hsl($hue 55% 45%)";
    $pale = "hsl($hue 70% 75%)";
    $flame = '<path d="M120 78c10 12 13 20 13 27a13 13 0 0 1-26 0c0-7 3-15 13-27z" fill="#ffd36b"/><path d="M120 92c5 6 6 10 6 14a6 6 0 0 1-12 0c0-4 1-8 6-14z" fill="#fff6d8"/>';
    return match ($shape) {
        'lantern' => "<path d='M92 58a28 28 0 0 1 56 0' fill='none' stroke='$dark' stroke-width='4'/><rect x='96' y='52' width='48' height='14' rx='5' fill='$body'/>"
            . "<rect x='90' y='66' width='60' height='66' rx='12' fill='$pale' opacity='.75'/>$flame<path d='M90 82h60M90 116h60' stroke='$dark' stroke-width='2.5'/>"
            . "<rect x='84' y='130' width='72' height='22' rx='7' fill='$body'/><rect x='84' y='144' width='72' height='8' rx='4' fill='$dark'/>",
        'street' => "<path d='M104 36h32l-4-10h-24z' fill='$dark'/><path d='M98 40h44l-8 44h-28z' fill='#ffe9a8' stroke='$dark' stroke-width='4' stroke-linejoin='round'/>"
            . "<path d='M120 40v44' stroke='$dark' stroke-width='2.5'/><rect x='104' y='84' width='32' height='7' rx='3' fill='$body'/><rect x='116' y='90' width='8' height='62' fill='$dark'/>"
            . "<path d='M112 112h16' stroke='$body' stroke-width='5'/><path d='M102 160h36l-8-14h-20z' fill='$body'/>",
        'table' => "<path d='M98 36h44l22 54H76z' fill='$body'/><path d='M86 84h68' stroke='$pale' stroke-width='4'/><circle cx='120' cy='95' r='9' fill='#ffe08a'/>"
            . "<rect x='117' y='92' width='6' height='54' fill='$dark'/><ellipse cx='120' cy='150' rx='32' ry='9' fill='$dark'/>",
        'bulb' => "<path d='M120 30a42 42 0 0 1 24 76c-5 4-7 9-7 16h-34c0-7-2-12-7-16a42 42 0 0 1 24-76z' fill='$pale' stroke='$body' stroke-width='3'/>"
            . "<path d='M108 120V88l6 8 6-8 6 8 6-8v32' fill='none' stroke='#e88a1a' stroke-width='3'/><rect x='103' y='124' width='34' height='22' rx='5' fill='#8d949c'/>"
            . "<path d='M103 132h34M103 139h34' stroke='#6b7178' stroke-width='2'/><rect x='112' y='146' width='16' height='8' rx='4' fill='#4d5257'/>",
        'pendant' => "<path d='M120 0v52' stroke='#333' stroke-width='3'/><rect x='112' y='48' width='16' height='14' rx='3' fill='$dark'/><path d='M112 60h16c30 6 44 28 46 52H66c2-24 16-46 46-52z' fill='$body'/>"
            . "<ellipse cx='120' cy='112' rx='54' ry='9' fill='#fff1c4'/><circle cx='120' cy='118' r='10' fill='#ffdc7a'/>",
        'candle' => "<g transform='translate(0 -46)'>$flame</g><path d='M120 70v14' stroke='#333' stroke-width='3'/><rect x='103' y='82' width='34' height='70' rx='5' fill='$body'/>"
            . "<path d='M103 88c6 10 10 2 14 8s8 10 20-4v-5a5 5 0 0 0-5-5h-24a5 5 0 0 0-5 5z' fill='$pale'/><ellipse cx='120' cy='154' rx='40' ry='8' fill='#7d848b'/>",
    };
}

foreach (require __DIR__ . '/products.php' as ['name' => $name, 'shape' => $shape, 'hue' => $hue, 'picture' => $file]) {
    $drawing = shape($shape, $hue);
    file_put_contents("$dir/$file", <<<SVG
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 180" role="img" aria-label="$name">
        <defs><radialGradient id="g"><stop offset="0" stop-color="#ffdf8c" stop-opacity=".9"/><stop offset="1" stop-color="#ffdf8c" stop-opacity="0"/></radialGradient></defs>
        <rect width="240" height="180" fill="hsl($hue 30% 95%)"/>
        <circle cx="120" cy="90" r="88" fill="url(#g)"/>
        $drawing
        </svg>

        SVG);
}
